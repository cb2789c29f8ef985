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
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
)

// spoolUsers are the accounts of spoolWorld, so that several lanes are at work.
const spoolUsers = 6

func scanner(i int) string { return fmt.Sprintf("scanner%d@example.com", i) }

// spoolWorld is a gateway in a process of its own whose server has a spool.
func spoolWorld(t *testing.T, opts ...option) (w *world, admin string) {
	t.Helper()
	admin = freeAddr(t)
	opts = append(opts,
		withServer("spool", "on"),
		withUpstream("max_wait", "1s"),
		func(w *world, provider *sandbox.App) {
			provider.KeepMessages = 100_000
			w.config["admin"] = object{"listen": admin, "config": object{"persist": false}}
			w.config["logging"] = object{"logs": object{"default": object{"level": "INFO"}}}
			w.app("smtp_upstreams")["spool"] = object{"directory": filepath.Join(t.TempDir(), "spool"), "min_free": -1}
		})
	for i := range spoolUsers {
		opts = append(opts, withAccount(account(scanner(i), scanner(i))))
	}
	return newProcessWorld(t, opts...), admin
}

// promises are the messages that clients were answered 250 for.
type promises struct {
	mu   sync.Mutex
	all  map[string]bool
	want int
	full chan struct{}
	over chan struct{} // closed when there are 300 more than that
}

// add notes a promise; a client that has enough of them goes on until the
// process is gone.
func (p *promises) add(tag string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[tag] = true
	switch p.want--; p.want {
	case 0:
		close(p.full)
	case -300:
		close(p.over)
	}
}

// promiseMore sends as all users until the process is gone, and reports by
// `full` when there are n promises more.
func (p *promises) promiseMore(addr, round string, n int) *sync.WaitGroup {
	p.mu.Lock()
	p.want, p.full, p.over = n, make(chan struct{}), make(chan struct{})
	p.mu.Unlock()
	var clients sync.WaitGroup
	for i := range spoolUsers {
		clients.Go(func() {
			for n := 0; ; {
				c, err := textproto.Dial("tcp", addr)
				if err != nil {
					return // the process is gone
				}
				n = p.session(c, scanner(i), round, n)
				c.Close()
			}
		})
	}
	return &clients
}

// session sends until a command fails.
func (p *promises) session(c *textproto.Conn, user, round string, n int) int {
	if _, _, err := c.ReadResponse(220); err != nil {
		return n
	}
	if tryCommand(c, 250, "EHLO client.test") != nil || tryCommand(c, 235, "AUTH PLAIN "+plain(user, testPassword)) != nil {
		return n
	}
	for ; ; n++ {
		tag := fmt.Sprintf("<%s.%s.%d>", round, user, n)
		if tryCommand(c, 250, "MAIL FROM:<"+user+">") != nil || tryCommand(c, 250, "RCPT TO:<to@example.net>") != nil || tryCommand(c, 354, "DATA") != nil {
			return n + 1
		}
		if tryCommand(c, 250, "Subject: scan\r\nX-Tag: "+tag+"\r\n\r\n"+strings.Repeat("page ", 200)+"\r\n.") != nil {
			return n + 1
		}
		p.add(tag)
	}
}

var (
	tagPattern     = regexp.MustCompile(`X-Tag: (<[^>]*>)`)
	spooledPattern = regexp.MustCompile(`\tid ([0-9a-f]{24});`)
)

// arrived counts the provider's copies by tag, and by id of those that went
// through the spool.
func (w *world) arrived() (tags, ids map[string]int) {
	tags, ids = make(map[string]int), make(map[string]int)
	for _, m := range w.sandbox.Messages() {
		body, _ := w.sandbox.Body(m.ID)
		if tag := tagPattern.FindSubmatch(body); tag != nil {
			tags[string(tag[1])]++
		}
		if id := spooledPattern.FindSubmatch(body); id != nil {
			ids[string(id[1])]++
		}
	}
	return tags, ids
}

// spoolCommand runs `smtp spool` of the real binary.
func spoolCommand(t *testing.T, admin string, args ...string) (string, error) {
	t.Helper()
	bin, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"smtp", "spool", "--address", admin}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSpoolKilled kills the real binary under load, while the provider is away,
// refuses with 421 or is slow with its reply: nothing that a client was promised
// is missing at the end, and a message of the spool is there twice only where the
// process died between the provider's word and the journal's line. It is killed
// MAILGATEWAY_KILLS times.
func TestSpoolKilled(t *testing.T) {
	spoolKilled(t, func(proc *process, _ <-chan struct{}, sends bool, rnd *rand.Rand) {
		if sends {
			time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond) // a moment that nothing announces
		}
		proc.signal(syscall.SIGKILL)
	})
}

// TestSpoolKilledAtCalls does that where the process enters a system call with which
// the spool writes.
func TestSpoolKilledAtCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("MAILGATEWAY_INTEROP") != "" {
			t.Fatal("strace is missing: apt-get install strace")
		}
		t.Skip(err)
	}
	met := 0
	spoolKilled(t, func(proc *process, over <-chan struct{}, sends bool, rnd *rand.Rand) {
		calls := []string{"pwrite64", "fsync", "/^rename"}
		if sends {
			calls = []string{"pwrite64", "fsync", "/^unlink"}
		}
		call := calls[rnd.IntN(len(calls))]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		go func() {
			select {
			case <-over: // the provider takes all, and the spool has nothing to do
				cancel()
			case <-ctx.Done():
			}
		}()
		// It counts each thread's calls, of which there are a dozen.
		out, err := exec.CommandContext(ctx, strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call, "-e", //nolint:gosec // the tracer that was found
			fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, 1+rnd.IntN(8)), "-p", fmt.Sprint(proc.cmd.Process.Pid)).CombinedOutput()
		switch {
		case ctx.Err() != nil:
			proc.signal(syscall.SIGKILL) // it has no more such calls
		case err != nil:
			t.Skipf("strace: %v\n%s", err, out)
		default:
			met++
		}
	})
	t.Logf("%d times at a call", met)
}

// spoolKilled is a load whose process is killed as it says, which learns when there was
// enough of it, and whether the spool is sending what it has.
func spoolKilled(t *testing.T, kill func(proc *process, over <-chan struct{}, sends bool, rnd *rand.Rand)) {
	t.Helper()
	rounds, _ := kills(t)
	w, admin := spoolWorld(t)
	p := &promises{all: make(map[string]bool)}
	troubles := []sandbox.Fault{
		{Stage: "mail", Action: "reply", Reply: "451 4.7.500 Server busy"},
		{Stage: "connect", Action: "refuse"},
		{Stage: "end", Action: "reply", Reply: "452 4.2.2 Mailbox full"},
		{Stage: "end", Action: "drop_after_accept", Times: 5},
		{Stage: "rcpt", Action: "reply", Reply: "450 4.2.1 Rate exceeded", Times: 40},
	}
	rnd := rand.New(rand.NewPCG(uint64(rounds), 17)) //nolint:gosec // which moment, not a secret
	dropped := 0
	for round := range rounds {
		fault := troubles[round%len(troubles)]
		id, err := w.sandbox.AddFault(fault)
		if err != nil {
			t.Fatal(err)
		}
		proc := w.run()
		clients := p.promiseMore(w.addr, fmt.Sprint("r", round), 20+rnd.IntN(60))
		select {
		case <-p.full:
		case <-proc.done:
			t.Fatalf("the gateway ended early: %v\n%s", proc.err, proc.out.String())
		case <-time.After(time.Minute):
			t.Fatalf("round %d: too few messages were taken\n%s", round, proc.out.String())
		}
		if round%2 == 1 {
			// Half of the times the spool is sending what it has.
			w.sandbox.RemoveFault(id)
			if out, err := http.Post("http://"+admin+"/smtp/spool/drain", "application/json", strings.NewReader("{}")); err == nil {
				_, _ = io.Copy(io.Discard, out.Body)
				out.Body.Close()
			}
		}
		kill(proc, p.over, round%2 == 1, rnd)
		_ = proc.wait()
		clients.Wait()
		for _, f := range w.sandbox.Faults() {
			if f.Action == "drop_after_accept" {
				dropped += int(f.Hits)
			}
		}
		w.sandbox.ClearFaults()
	}
	proc := w.run()
	// What was killed three times in a row is held, rightly: that is these kills.
	held, err := spoolCommand(t, admin, "list", "--state", "held")
	if err != nil {
		t.Fatalf("%v\n%s", err, held)
	}
	for _, id := range regexp.MustCompile(`(?m)^[0-9a-f]{24}\b`).FindAllString(held, -1) {
		if out, err := spoolCommand(t, admin, "release", id); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if out, err := spoolCommand(t, admin, "drain", "--timeout", "2m"); err != nil {
		t.Fatalf("draining: %v\n%s\n%s", err, out, proc.out.String())
	}
	tags, ids := w.arrived()
	lost := 0
	for tag := range p.all {
		if tags[tag] == 0 {
			lost++
		}
	}
	twice := 0
	for id, n := range ids {
		if n > 1 {
			twice += n - 1
			t.Logf("%s came %d times", id, n)
		}
	}
	t.Logf("%d kills, %d messages promised, %d of the spool arrived, %d lost, %d copies too many of the spool", rounds, len(p.all), len(ids), lost, twice)
	if lost > 0 {
		t.Errorf("%d messages are lost", lost)
	}
	// What was under way when the process died, at most one of each account, and
	// what a connection took with it after the end of data.
	if most := rounds*spoolUsers + dropped; twice > most {
		t.Errorf("%d copies too many, want at most %d", twice, most)
	}
}

// TestSpoolHandedOver drains the spool of one gateway, whose provider is away, to
// another gateway, which sends everything on: each message once, as the account
// that it was given by.
func TestSpoolHandedOver(t *testing.T) {
	standby, _ := spoolWorld(t, withServer("trust", []any{object{"networks": []string{"127.0.0.1"}, "submitter": true}}))
	w, admin := spoolWorld(t, withUpstream("dial", freeAddr(t)))
	upstreams := w.app("smtp_upstreams")
	upstreams["upstreams"].(object)["standby"] = object{
		"dial": standby.addr, "auth": object{"mechanism": "none"}, "tls": object{"mode": "off"}, "submitter": true,
	}
	upstreams["spool"].(object)["peer"] = "standby"
	proc := w.run()
	p := &promises{all: make(map[string]bool)}
	clients := p.promiseMore(w.addr, "r", 30)
	select {
	case <-p.full:
	case <-time.After(time.Minute):
		t.Fatalf("too few messages were taken\n%s", proc.out.String())
	}
	// A drain that meets nothing ends in time, and says what is left.
	if out, err := spoolCommand(t, admin, "drain", "--hand-over", "--timeout", "1s"); err == nil || !strings.Contains(out, "left after 1s") {
		t.Errorf("without the peer: %v\n%s", err, out)
	}
	proc.signal(syscall.SIGTERM)
	if err := proc.wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	clients.Wait()
	standby.run()
	proc = w.run()
	if out, err := spoolCommand(t, admin, "drain", "--hand-over", "--timeout", "1m"); err != nil {
		t.Fatalf("draining: %v\n%s\n%s", err, out, proc.out.String())
	}
	tags := make(map[string]int)
	for _, m := range standby.sandbox.Messages() {
		body, _ := standby.sandbox.Body(m.ID)
		tag := string(tagPattern.FindSubmatch(body)[1])
		if !strings.Contains(tag, m.Mailbox) {
			t.Errorf("%s was sent as %s", tag, m.Mailbox)
		}
		tags[tag]++
	}
	for tag := range p.all {
		if tags[tag] != 1 {
			t.Errorf("%s arrived %d times", tag, tags[tag])
		}
	}
}
