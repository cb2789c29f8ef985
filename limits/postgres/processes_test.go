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

//go:build unix

package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/limits"
)

// What a sender, a process of its own, finds in its environment.
const senderDSN, senderProvider = "MAILGATEWAY_TEST_DSN", "MAILGATEWAY_TEST_PROVIDER"

func TestMain(m *testing.M) {
	if os.Getenv(senderDSN) != "" {
		sender()
		return
	}
	os.Exit(m.Run())
}

const (
	realConns    = 3
	providerIdle = 1500 * time.Millisecond
	realGrace    = 2 * time.Second
)

var realLimits = accounts.Limits{MaxConns: realConns, Rate: accounts.Rate{Count: 20, Per: 3 * time.Second}, Messages: accounts.Rate{Count: 150, Per: time.Hour}}

// sender is a process that sends as fast as it may until it is killed.
func sender() {
	eng, err := openEngine(context.Background(), pgdb.Config{DSN: os.Getenv(senderDSN)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	n := newNode(eng, "sender", minLease, realGrace, zap.NewNop())
	n.start()
	local := limits.NewLocal("up", limits.Config{Limits: realLimits, Lender: n.guest("up")})
	for range 4 {
		go func() {
			acct := local.Account("m", "m", nil)
			conns := acct.Holder()
			for {
				sendSome(acct, conns)
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	select {}
}

// sendSome sends over one connection until something is in the way.
func sendSome(acct limits.Account, conns limits.Holder) {
	if !conns.Take(func() {}) {
		return
	}
	defer conns.Free()
	time.Sleep(50 * time.Millisecond) // as a token and a name do, so that a pause finds some at it
	if !conns.Dials() {
		return
	}
	c, err := net.Dial("tcp", os.Getenv(senderProvider))
	if err != nil {
		return
	}
	// The provider has noticed the end of the connection before it is free.
	defer func() {
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = bufio.NewReader(c).ReadByte()
		_ = c.Close()
	}()
	r := bufio.NewReader(c)
	if !conns.Dials() {
		return
	}
	if _, err := c.Write([]byte("login\n")); err != nil {
		return
	}
	if _, err := r.ReadString('\n'); err != nil {
		return
	}
	for range 20 {
		slot, err := acct.Reserve(context.Background(), limits.Request{MaxWait: time.Second, MaxWaiting: 10})
		if err != nil {
			return
		}
		if !acct.Lends(&slot) {
			acct.Cancel(slot)
			return
		}
		_, err = c.Write([]byte("m\n"))
		if err == nil {
			_, err = r.ReadString('\n')
		}
		acct.Commit(slot, 1)
		if err != nil {
			return
		}
	}
}

// countingProvider is a provider that counts, in this process. A connection is a
// mailbox's from its login on. One that is dialed by a process that was paused
// right before, and has lost its lease meanwhile, is closed without a word: no
// process can see to it that it does not begin.
type countingProvider struct {
	mu    sync.Mutex
	open  int
	most  int
	at    []time.Time
	conns sync.WaitGroup
}

func (p *countingProvider) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.conns.Go(func() { p.conn(c) })
	}
}

func (p *countingProvider) conn(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for in := false; ; {
		_ = c.SetReadDeadline(time.Now().Add(providerIdle))
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		switch {
		case line == "m\n":
			p.at = append(p.at, time.Now())
		case !in:
			in = true
			p.open++
			p.most = max(p.most, p.open)
			defer p.left()
		}
		p.mu.Unlock()
		if _, err := c.Write([]byte("ok\n")); err != nil {
			return
		}
	}
}

func (p *countingProvider) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
}

func (p *countingProvider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at)
}

// TestProcesses has three processes send for one mailbox on a real database,
// while they are killed, paused and replaced, and the database crashes.
func TestProcesses(t *testing.T) {
	pg := testpg.Start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p countingProvider
	p.conns.Go(func() { p.serve(l) })
	t.Cleanup(func() { _ = l.Close(); p.conns.Wait() })
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0]) //nolint:gosec // this test
		cmd.Env = append(os.Environ(), senderDSN+"="+pg.DSN(), senderProvider+"="+l.Addr().String())
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	procs := []*exec.Cmd{start(), start(), start()}
	defer func() {
		for _, cmd := range procs {
			kill(cmd)
		}
	}()
	sends := func(after string) {
		t.Helper()
		from, deadline := p.count(), time.Now().Add(time.Minute)
		for p.count() < from+15 {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d messages in all, and no more come", after, p.count())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	sends("the start")
	kill(procs[0])
	procs[0] = start()
	sends("kill -9")
	_ = procs[1].Process.Signal(syscall.SIGSTOP)
	sends("SIGSTOP")
	time.Sleep(minLease) // the lease of the paused process ends
	_ = procs[1].Process.Signal(syscall.SIGCONT)
	sends("SIGCONT")
	pg.Kill()
	pg.Up()
	sends("a crash of the database")
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := worst(p.at, realLimits.Rate.Per); n > int(realLimits.Rate.Count) {
		t.Errorf("%d messages within %s", n, realLimits.Rate.Per)
	}
	if len(p.at) > int(realLimits.Messages.Count) {
		t.Errorf("%d messages within an hour", len(p.at))
	}
	if p.most > realConns {
		t.Errorf("%d connections", p.most)
	}
	t.Logf("%d messages, at most %d connections", len(p.at), p.most)
}
