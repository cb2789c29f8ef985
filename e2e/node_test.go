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
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/sandbox"
)

// node is a gateway among several that count together.
type node struct {
	*process
	world       *world
	addr, admin string
}

// runNode starts a gateway with addresses of its own.
func (w *world) runNode(name string) *node {
	w.t.Helper()
	n := &node{world: w, addr: freeAddr(w.t), admin: freeAddr(w.t)}
	w.config["admin"] = object{"listen": n.admin}
	w.app("smtp_upstreams")["limits"].(object)["node"] = name
	n.process = w.runAt(n.addr)
	return n
}

// at returns the world whose gateway is the node.
func (n *node) at() *world {
	w := *n.world
	w.addr = n.addr
	return &w
}

// smtp runs a command for the node.
func (n *node) smtp(args ...string) (string, error) {
	out, err := exec.Command(n.cmd.Path, append(append([]string{"smtp"}, args...), "--address", n.admin)...).CombinedOutput() //nolint:gosec // this test
	return string(out), err
}

// greeting returns the first line that a client hears.
func (n *node) greeting() string {
	n.t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	line, err := textproto.NewConn(c).ReadLine()
	if err != nil {
		n.t.Fatal(err)
	}
	return line
}

// roamers are clients that send as fast as they can, and go to the other node when
// one says 421: what a balancer does for them.
type roamers struct {
	nodes    [2]*node
	mu       sync.Mutex
	accepted map[int]int // by the number of the message
	last     int
	wrong    []error
	wg       sync.WaitGroup
	stop     chan struct{}
}

func (r *roamers) run() {
	for at := 0; ; {
		select {
		case <-r.stop:
			return
		default:
		}
		err := r.session(r.nodes[at])
		refused, ok := errors.AsType[*textproto.Error](err)
		switch {
		case err == nil:
			return
		case ok && refused.Code == 421:
			at = 1 - at
		case ok && refused.Code == 451:
			// The other node has what this mailbox may use, for now.
		default:
			r.mu.Lock()
			r.wrong = append(r.wrong, err)
			r.mu.Unlock()
			return
		}
	}
}

// session sends until something is said that is no success.
func (r *roamers) session(n *node) error {
	c, err := textproto.Dial("tcp", n.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, step := range []string{"EHLO client.test", "AUTH PLAIN " + plain(testUser, testPassword)} {
		if err := tryCommand(c, 2, step); err != nil {
			return err
		}
	}
	for {
		select {
		case <-r.stop:
			return nil
		default:
		}
		r.mu.Lock()
		r.last++
		number := r.last
		r.mu.Unlock()
		if err := tryMessage(c, testUser, number); err != nil {
			return err
		}
		r.mu.Lock()
		r.accepted[number]++
		r.mu.Unlock()
	}
}

// more waits until n more messages were accepted.
func (r *roamers) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.accepted)
	}
	from, deadline := count(), time.Now().Add(time.Minute)
	for count() < from+n {
		if time.Now().After(deadline) {
			t.Fatalf("no more than %d messages are accepted", count())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestDrainedNode takes one of two nodes out of service while clients send: they
// hear 421 and go to the other one, what is under way ends in order, and the
// other node gets all that the mailbox may use. No message is lost or there twice.
func TestDrainedNode(t *testing.T) {
	const conns = 4
	pg := testpg.Start(t)
	w := newProcessWorld(t,
		withSandbox(func(sb *sandbox.App) { sb.MaxConnsPerMailbox, sb.KeepMessages = conns, 100_000 }),
		withUpstream("max_conns_per_account", conns),
		withUpstream("messages_per_account", "1000000/24h"),
		withUpstream("max_wait", "20s"),
		func(w *world, _ *sandbox.App) {
			w.app("smtp_upstreams")["limits"] = object{"kind": "postgres", "dsn": pg.DSN(), "lease": "10s"}
		})
	r := &roamers{accepted: make(map[int]int), stop: make(chan struct{})}
	r.nodes = [2]*node{w.runNode("one"), w.runNode("two")}
	one, two := r.nodes[0], r.nodes[1]
	idle := one.at().login()
	for range conns - 1 {
		r.wg.Go(r.run)
	}
	r.more(t, 50)
	busy := one.at().login()
	busy.cmd("MAIL FROM:<"+testUser+">", 250)
	busy.cmd("RCPT TO:<someone@example.net>", 250)
	busy.cmd("DATA", 354)
	busy.write("Subject: under way\r\n")

	out, err := one.smtp("node", "drain", "--timeout", "0s")
	if err == nil || !strings.Contains(out, "the node is still being drained") {
		t.Errorf("smtp node drain with a message under way: %v\n%s", err, out)
	}
	idle.expect(421)
	if line := one.greeting(); !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("a new client hears %q", line)
	}
	r.more(t, 50)
	if out, err := two.smtp("node", "list"); err != nil || !strings.Contains(out, "this one") {
		t.Errorf("smtp node list: %v\n%s", err, out)
	}
	busy.write("\r\nbye\r\n.\r\n")
	busy.expect(250)
	busy.expect(421)
	if out, err := one.smtp("node", "drain", "--timeout", "1m"); err != nil || !strings.Contains(out, "nothing is left") {
		t.Fatalf("smtp node drain: %v\n%s", err, out)
	}
	if out, err := one.smtp("node", "list"); err != nil || !strings.Contains(out, "this one, being drained") {
		t.Errorf("smtp node list: %v\n%s", err, out)
	}

	r.more(t, 50)
	close(r.stop)
	r.wg.Wait()
	// All connections of the mailbox are the other node's.
	var held [conns]*client
	for i := range held {
		held[i] = two.at().login()
		held[i].cmd("MAIL FROM:<"+testUser+">", 250)
		held[i].cmd("RCPT TO:<someone@example.net>", 250)
	}
	for _, c := range held {
		c.cmd("QUIT", 221)
	}

	if out, err := one.smtp("node", "resume"); err != nil {
		t.Fatalf("smtp node resume: %v\n%s", err, out)
	}
	again := one.at().login()
	if rep := again.send("Subject: again\r\n\r\nback\r\n"); rep.code != 250 {
		t.Errorf("after the drain: %s", rep)
	}

	for _, err := range r.wrong {
		t.Errorf("a client: %v", err)
	}
	times := make(map[string]int)
	for _, m := range w.sandbox.Messages() {
		body, _ := w.sandbox.Body(m.ID)
		subject, _, _ := bytes.Cut(body, []byte("\r\n"))
		times[string(subject)]++
	}
	for number := range r.accepted {
		if subject := fmt.Sprintf("Subject: %d", number); times[subject] == 0 {
			t.Errorf("%s: accepted, and not at the provider", subject)
		}
	}
	for subject, n := range times {
		if n > 1 {
			t.Errorf("%s: %d times at the provider", subject, n)
		}
	}
	if want := len(r.accepted) + 2; len(times) != want {
		t.Errorf("the provider has %d messages, %d were accepted", len(times), want)
	}
	if peak := w.sandbox.Mailbox(testUser).ConnsPeak; peak > conns {
		t.Errorf("%d connections at a time", peak)
	}
}

// TestDrainedByAnother holds that any node takes another one out of service, by
// its ID or its name, and says what is left there; and puts it into service
// again. One that has died is not waited for.
func TestDrainedByAnother(t *testing.T) {
	pg := testpg.Start(t)
	w := newProcessWorld(t, func(w *world, _ *sandbox.App) {
		w.app("smtp_upstreams")["limits"] = object{"kind": "postgres", "dsn": pg.DSN(), "lease": "5s"}
	})
	var nodes [3]*node
	for i, name := range []string{"one", "two", "three"} {
		nodes[i] = w.runNode(name)
	}
	one, two, three := nodes[0], nodes[1], nodes[2]
	idle := two.at().login()
	busy := two.at().login()
	busy.cmd("MAIL FROM:<"+testUser+">", 250)
	busy.cmd("RCPT TO:<someone@example.net>", 250)
	busy.cmd("DATA", 354)
	busy.write("Subject: under way\r\n")
	id := regexp.MustCompile(`(?m)^two +([A-Z0-9]+) +alive`)
	list, err := one.smtp("node", "list")
	if err != nil || !id.MatchString(list) {
		t.Fatalf("smtp node list: %v\n%s", err, list)
	}
	if out, err := one.smtp("node", "drain", id.FindStringSubmatch(list)[1], "--timeout", "3s"); err == nil || !strings.Contains(out, "the node is still being drained") {
		t.Errorf("smtp node drain ID with a message under way: %v\n%s", err, out)
	}
	idle.expect(421)
	if line := two.greeting(); !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("a new client of the drained node hears %q", line)
	}
	busy.write("\r\nbye\r\n.\r\n")
	busy.expect(250)
	busy.expect(421)
	if out, err := three.smtp("node", "drain", "two", "--timeout", "1m"); err != nil || !strings.Contains(out, "nothing is left") {
		t.Errorf("smtp node drain NAME: %v\n%s", err, out)
	}
	if list, err := three.smtp("node", "list"); err != nil || !regexp.MustCompile(`(?m)^two .* being drained `).MatchString(list) {
		t.Errorf("smtp node list: %v\n%s", err, list)
	}
	for _, n := range []*node{one, three} {
		if rep := n.at().login().send("Subject: elsewhere\r\n\r\nx\r\n"); rep.code != 250 {
			t.Errorf("another node meanwhile: %s", rep)
		}
	}
	if out, err := three.smtp("node", "resume", "two"); err != nil {
		t.Errorf("smtp node resume NAME: %v\n%s", err, out)
	}
	for deadline := time.Now().Add(time.Minute); !strings.HasPrefix(two.greeting(), "220 "); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node is not in service again")
		}
	}
	if rep := two.at().login().send("Subject: again\r\n\r\nback\r\n"); rep.code != 250 {
		t.Errorf("after the drain: %s", rep)
	}
	two.signal(syscall.SIGKILL)
	_ = two.wait()
	out, err := one.smtp("node", "drain", "two", "--timeout", "1m")
	if err == nil || !strings.Contains(out, "no living node has this ID") {
		t.Errorf("smtp node drain of a node that has died: %v\n%s", err, out)
	}
}

// TestDatabaseGoneUnderWay has the database go for good while the provider takes
// its time for the end of a message: the connection is closed before the place may
// be another node's, and the client hears that it is not known what became of it.
func TestDatabaseGoneUnderWay(t *testing.T) {
	pg := testpg.Start(t)
	w := newProcessWorld(t,
		withUpstream("max_conns_per_account", 1),
		func(w *world, _ *sandbox.App) {
			w.app("smtp_upstreams")["limits"] = object{"kind": "postgres", "dsn": pg.DSN(), "lease": "5s", "grace": "1s"}
		})
	n := w.runNode("one")
	if rep := n.at().login().send("Subject: before\r\n\r\nx\r\n"); rep.code != 250 {
		t.Fatalf("before: %s", rep)
	}
	// Longer than the client waits for its reply.
	if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "end", Action: "delay", Delay: caddy.Duration(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	reply := make(chan reply, 1)
	c := n.at().login()
	c.cmd("MAIL FROM:<"+testUser+">", 250)
	c.cmd("RCPT TO:<someone@example.net>", 250)
	go func() { reply <- c.data([]byte("Subject: slow\r\n\r\nx\r\n")) }()
	for deadline := time.Now().Add(30 * time.Second); w.sandbox.Faults()[0].Hits == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the message does not come to its end")
		}
	}
	pg.Kill()
	if rep := <-reply; rep.code != 451 {
		t.Errorf("the message under way: %s", rep)
	}
}

// TestFailover kills the primary of two databases while two nodes send for many
// mailboxes whose provider gives a new refresh token at each use, and ends a
// consent when a used one comes back: no write that was acknowledged is lost, so
// that each mailbox still sends afterwards, by either node, and no limit is passed.
func TestFailover(t *testing.T) {
	const (
		mailboxes = 25
		conns     = 2
		minute    = 300
	)
	rotations := 150
	if _, long := kills(t); long {
		rotations = 500
	}
	pg := testpg.StartPair(t)
	opts := []option{
		withSandbox(func(sb *sandbox.App) {
			sb.RotateRefreshTokens, sb.RotationGrace, sb.KeepBodies = true, false, false
			sb.TokenLifetime = caddy.Duration(time.Second)
		}),
		withUpstream("max_messages_per_conn", 1), // each message needs a token
		withUpstream("max_conns_per_account", conns),
		withUpstream("rate_per_account", fmt.Sprintf("%d/1m", minute)),
		withUpstream("max_wait", "5s"),
		func(w *world, _ *sandbox.App) {
			w.config["storage"] = object{"module": "postgres", "dsn": pg.DSN(), "timeout": "5s"}
			w.app("smtp_upstreams")["limits"] = object{"kind": "postgres", "dsn": pg.DSN(), "lease": "15s", "grace": "2s", "timeout": "5s"}
		},
	}
	user := func(i int) string { return fmt.Sprintf("box%d@example.com", i) }
	for i := range mailboxes {
		opts = append(opts, withAccount(account(user(i), user(i))))
	}
	w := newProcessWorld(t, opts...)
	nodes := [2]*node{w.runNode("one"), w.runNode("two")}
	posts := func() int { return int(w.sandbox.Stats().TokenPosts["refresh_token"]) } //nolint:gosec // few
	var (
		wg             sync.WaitGroup
		stop           atomic.Bool
		sent, deferred atomic.Int64
	)
	for i := range mailboxes {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				err := trySend(nodes[(i+n/5)%2].addr, user(i), n)
				refused, ok := errors.AsType[*textproto.Error](err)
				switch {
				case err == nil:
					sent.Add(1)
				case ok && refused.Code/100 == 4:
					deferred.Add(1)
					time.Sleep(100 * time.Millisecond) // as a client comes back later
				default:
					t.Errorf("%s: %v", user(i), err)
					return
				}
			}
		})
	}
	reach := func(goal int) {
		for deadline := time.Now().Add(3 * time.Minute); posts() < goal && !t.Failed(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%d rotations, want %d", posts(), goal)
			}
		}
	}
	reach(rotations / 2)
	pg.Failover()
	at := posts()
	reach(max(rotations, at+rotations/4))
	stop.Store(true)
	wg.Wait()
	// Each mailbox works, and no owner had to consent again.
	for i := range mailboxes {
		for _, n := range nodes {
			err := trySend(n.addr, user(i), 0)
			for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				err = trySend(n.addr, user(i), 0)
			}
			if err != nil {
				t.Errorf("%s after all: %v", user(i), err)
			}
		}
		box := w.sandbox.Mailbox(user(i))
		if box.ConnsPeak > conns || box.MaxPerMinute > minute {
			t.Errorf("%s: %d connections at a time, %d messages within a minute", user(i), box.ConnsPeak, box.MaxPerMinute)
		}
	}
	t.Logf("%d rotations, %d messages, %d deferred", posts(), sent.Load(), deferred.Load())
	if got := int64(w.sandbox.MessageCount()); got < sent.Load() { //nolint:gosec // few
		t.Errorf("the provider has %d messages, %d were accepted", got, sent.Load())
	}
}
