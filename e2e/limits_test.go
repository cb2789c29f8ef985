// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/sandbox"
)

// What the provider allows the mailbox of limitedWorld.
const (
	limitConns   = 3
	limitMinute  = 30
	limitDay     = 50
	limitDevices = 4
)

// siege is how often a process is killed and what the mailbox has a day. The
// short form is quick: its devices stop at the first limit that is used up, so
// that a late kill may find nothing under way. In the long one every kill has to
// meet a mailbox that sends, which takes minutes: of 30 messages a minute each
// kill costs those that were stored ahead.
type siege struct {
	kills, day, met int
	long            bool
	until           string // what the devices send until
}

// kills returns how often a process is killed: few times, or as often as
// MAILGATEWAY_KILLS says, which is the long form.
func kills(t *testing.T) (n int, long bool) {
	t.Helper()
	s := os.Getenv("MAILGATEWAY_KILLS")
	if s == "" {
		return 4, false
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("MAILGATEWAY_KILLS: %v", err)
	}
	return n, true
}

func newSiege(t *testing.T) *siege {
	t.Helper()
	n, long := kills(t)
	if !long {
		return &siege{kills: n, day: limitDay, until: " used up"}
	}
	// A kill costs what was sent and what was stored ahead, at most a quarter of
	// a minute's messages: the quota outlasts them all.
	return &siege{kills: n, day: limitDay + n*limitMinute, long: true, until: "Message quota used up"}
}

func device(i int) string { return fmt.Sprintf("device%d@example.com", i) }

// limitedWorld is four devices on one mailbox that has limits; the provider
// takes slow for the reply to a message.
func limitedWorld(t *testing.T, day int, slow time.Duration) *world {
	t.Helper()
	opts := []option{
		withUpstream("max_conns_per_account", limitConns),
		withUpstream("rate_per_account", fmt.Sprintf("%d/1m", limitMinute)),
		withUpstream("messages_per_account", fmt.Sprintf("%d/24h", day)),
		withUpstream("max_wait", "1s"),
	}
	for i := range limitDevices {
		opts = append(opts, withAccount(account(device(i), testUser)))
	}
	w := newProcessWorld(t, opts...)
	if slow > 0 {
		if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "end", Action: "delay", Delay: caddy.Duration(slow)}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// runAt is run with the server at another address.
func (w *world) runAt(addr string) *process {
	w.t.Helper()
	w.addr = addr
	w.server()["listen"] = []string{addr}
	return w.run()
}

// sendUntil sends as fast as it goes, until the process is gone or says that the
// limit called what is used up. It comes back, as devices do, when the server has
// had enough of its refused commands.
func sendUntil(addr, user, what string) {
	for {
		c, err := textproto.Dial("tcp", addr)
		if err != nil {
			return
		}
		ended := sendOn(c, user, what)
		c.Close()
		if ended {
			return
		}
		time.Sleep(breath)
	}
}

// breath is how long a device that was refused waits before it tries again.
const breath = 50 * time.Millisecond

// sendOn sends through one connection until that ends, or until it is told that
// what is used up, which it reports.
func sendOn(c *textproto.Conn, user, what string) bool {
	if _, _, err := c.ReadResponse(220); err != nil {
		return false
	}
	if tryCommand(c, 250, "EHLO client.test") != nil || tryCommand(c, 235, "AUTH PLAIN "+plain(user, testPassword)) != nil {
		return false
	}
	for n := 0; ; n++ {
		err := tryMessage(c, testUser, n)
		if err == nil {
			continue
		}
		refusal, ok := errors.AsType[*textproto.Error](err)
		if !ok {
			return false
		}
		if strings.Contains(refusal.Msg, what) {
			return true
		}
		if tryCommand(c, 250, "RSET") != nil {
			return false
		}
		time.Sleep(breath)
	}
}

// devices lets all devices send through a process; the channel is closed when
// the last one has ended.
func devices(addr, what string) <-chan struct{} {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for i := range limitDevices {
		wg.Go(func() { sendUntil(addr, device(i), what) })
	}
	go func() {
		wg.Wait()
		close(ended)
	}()
	return ended
}

// noticed waits until the provider knows of the end of a process. No process
// can count the connections that it still holds until then.
func (w *world) noticed() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.sandbox.WaitNoConns(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// reached waits for n more messages at the provider, or for the devices' end. It
// reports whether they came.
func (w *world) reached(n int, ended <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return w.sandbox.WaitMessages(ctx, w.sandbox.MessageCount()+uint64(n)) == nil
}

// check compares what the provider has counted with what it allows, and the
// kills with those that show something.
func (w *world) check(s *siege) {
	w.t.Helper()
	box := w.sandbox.Mailbox(testUser)
	w.t.Logf("%d messages, at most %d a minute and %d connections; %d of %d kills met a mailbox that sent",
		box.Messages, box.MaxPerMinute, box.ConnsPeak, s.met, s.kills)
	if int(box.Messages) > s.day {
		w.t.Errorf("%d messages, the mailbox has %d a day", box.Messages, s.day)
	}
	if box.MaxPerMinute > limitMinute {
		w.t.Errorf("%d messages within a minute, the mailbox has %d", box.MaxPerMinute, limitMinute)
	}
	if box.ConnsPeak > limitConns {
		w.t.Errorf("%d connections at a time, the mailbox has %d", box.ConnsPeak, limitConns)
	}
	floor := 1 // the first finds every limit unused
	if s.long {
		floor = s.kills
	}
	if s.met < floor {
		w.t.Errorf("only %d of %d kills met a mailbox that sent: want %d", s.met, s.kills, floor)
	}
	if int(box.Messages) < s.kills/2 {
		w.t.Errorf("only %d messages, so the test shows nothing: want %d", box.Messages, s.kills/2)
	}
}

// usedUp narrows the quota to what the provider has counted. A count that lost a
// message to a kill would let one more through.
func (w *world) usedUp(s *siege) {
	s.day = int(w.sandbox.Mailbox(testUser).Messages)
	w.upstream()["messages_per_account"] = fmt.Sprintf("%d/24h", s.day)
}

// TestKilledWithinLimits kills the gateway again and again while four devices
// of one mailbox send as fast as they can: what the provider counts never
// passes a limit, whether it answers at once or not.
func TestKilledWithinLimits(t *testing.T) {
	if newSiege(t).long {
		t.Parallel() // it waits for minutes to pass
	}
	for name, slow := range map[string]time.Duration{"fast": 0, "slow": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s := newSiege(t)
			if s.long {
				t.Parallel()
			}
			w := limitedWorld(t, s.day, slow)
			for round := range s.kills {
				p := w.run()
				ended := devices(w.addr, s.until)
				if w.reached(1+round%3, ended) {
					s.met++
				}
				p.signal(syscall.SIGKILL)
				_ = p.wait()
				<-ended
				w.noticed()
			}
			if s.long {
				w.usedUp(s)
			}
			w.run()
			<-devices(w.addr, s.until)
			w.check(s)
		})
	}
}

// TestProcessesWithinLimits has two processes on one storage, one of which is
// killed or ended in turn while both send: together they stay within each limit,
// that of connections too.
func TestProcessesWithinLimits(t *testing.T) {
	s := newSiege(t)
	if s.long {
		t.Parallel()
	}
	w := limitedWorld(t, s.day, 0)
	addrs := [2]string{freeAddr(t), freeAddr(t)}
	processes := [2]*process{w.runAt(addrs[0]), w.runAt(addrs[1])}
	ended := [2]<-chan struct{}{devices(addrs[0], s.until), devices(addrs[1], s.until)}
	for round := range s.kills {
		both := make(chan struct{})
		go func(one, two <-chan struct{}) {
			<-one
			<-two
			close(both)
		}(ended[0], ended[1])
		if w.reached(1+round%3, both) {
			s.met++
		}
		i := round % 2
		processes[i].signal([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[round/2%2])
		_ = processes[i].wait()
		<-ended[i]
		processes[i] = w.runAt(addrs[i])
		ended[i] = devices(addrs[i], s.until)
	}
	if s.long {
		for i, p := range processes {
			p.signal(syscall.SIGKILL)
			_ = p.wait()
			<-ended[i]
		}
		w.noticed()
		w.usedUp(s)
		for i, addr := range addrs {
			w.runAt(addr)
			ended[i] = devices(addr, s.until)
		}
	}
	<-ended[0]
	<-ended[1]
	w.check(s)
}
