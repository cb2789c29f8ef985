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

// kills returns how often a process is killed: few times, or as often as
// MAILGATEWAY_KILLS says, and then until the long limit is used up too.
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

func device(i int) string { return fmt.Sprintf("device%d@example.com", i) }

// limitedWorld is four devices on one mailbox that has limits; the provider
// takes slow for the reply to a message.
func limitedWorld(t *testing.T, slow time.Duration) *world {
	t.Helper()
	opts := []option{
		withUpstream("max_conns_per_account", limitConns),
		withUpstream("rate_per_account", fmt.Sprintf("%d/1m", limitMinute)),
		withUpstream("messages_per_account", fmt.Sprintf("%d/24h", limitDay)),
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

// sendUntil sends as fast as it goes, until the process is gone or says that
// the limit called what is used up, which it reports.
func sendUntil(addr, user, what string) bool {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
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

// reached waits for n more messages at the provider, or for the devices' end.
func (w *world) reached(n int, ended <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = w.sandbox.WaitMessages(ctx, w.sandbox.MessageCount()+uint64(n))
}

// check compares what the provider has counted with what it allows.
func (w *world) check(conns, atLeast int) {
	w.t.Helper()
	box := w.sandbox.Mailbox(testUser)
	w.t.Logf("%d messages, at most %d a minute and %d connections", box.Messages, box.MaxPerMinute, box.ConnsPeak)
	if box.Messages > limitDay {
		w.t.Errorf("%d messages, the mailbox has %d a day", box.Messages, limitDay)
	}
	if box.MaxPerMinute > limitMinute {
		w.t.Errorf("%d messages within a minute, the mailbox has %d", box.MaxPerMinute, limitMinute)
	}
	if box.ConnsPeak > conns {
		w.t.Errorf("%d connections at a time, the mailbox has %d", box.ConnsPeak, conns)
	}
	if int(box.Messages) < atLeast {
		w.t.Errorf("only %d messages, so the test shows nothing: want %d", box.Messages, atLeast)
	}
}

// TestKilledWithinLimits kills the gateway again and again while four devices
// of one mailbox send as fast as they can: what the provider counts never
// passes a limit, whether it answers at once or not.
func TestKilledWithinLimits(t *testing.T) {
	n, long := kills(t)
	for name, slow := range map[string]time.Duration{"fast": 0, "slow": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := limitedWorld(t, slow)
			for round := range n {
				p := w.run()
				ended := devices(w.addr, " used up")
				w.reached(1+round%3, ended)
				p.signal(syscall.SIGKILL)
				_ = p.wait()
				<-ended
				w.noticed()
			}
			w.run()
			what := " used up"
			if long {
				what = "Message quota used up"
			}
			<-devices(w.addr, what)
			w.check(limitConns, n/2)
		})
	}
}

// TestProcessesWithinLimits has two processes on one storage, one of which is
// killed or ended in turn while both send: together they stay within each limit,
// that of connections too.
func TestProcessesWithinLimits(t *testing.T) {
	n, _ := kills(t)
	w := limitedWorld(t, 0)
	addrs := [2]string{freeAddr(t), freeAddr(t)}
	processes := [2]*process{w.runAt(addrs[0]), w.runAt(addrs[1])}
	for round := range n {
		var ended [2]<-chan struct{}
		all := make(chan struct{})
		for i := range ended {
			ended[i] = devices(addrs[i], " used up")
		}
		go func() {
			<-ended[0]
			<-ended[1]
			close(all)
		}()
		w.reached(1+round%3, all)
		i := round % 2
		processes[i].signal([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[round/2%2])
		_ = processes[i].wait()
		<-ended[i]
		processes[i] = w.runAt(addrs[i])
		<-all
	}
	<-devices(addrs[0], " used up")
	<-devices(addrs[1], " used up")
	w.check(limitConns, n/2)
}
