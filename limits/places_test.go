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

//go:build linux

package limits

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/accounts"
)

// user is a pool as the limiter knows it.
type user struct {
	Holder
	acct  Account
	woken chan struct{}
}

func userOf(l *Local, mailbox, name string) *user {
	acct := l.Account(mailbox, name, nil)
	return &user{acct.Holder(), acct, make(chan struct{}, 1)}
}

func (u *user) Close() {
	u.Holder.Close()
	u.acct.Close()
}

func newUser(t *testing.T, st certmagic.Storage, most int) (*Local, *user) {
	t.Helper()
	l := process(st, accounts.Limits{MaxConns: most})
	u := userOf(l, "m@a.test", "a")
	t.Cleanup(func() {
		u.Close()
		stop(l)
	})
	return l, u
}

func (u *user) take() bool {
	return u.Take(func() {
		select {
		case u.woken <- struct{}{}:
		default:
		}
	})
}

// wait tries whenever the limiter says so.
func (u *user) wait(t *testing.T, try func() bool) {
	t.Helper()
	for !try() {
		select {
		case <-u.woken:
		case <-t.Context().Done():
			t.Fatal("the limiter never woke it")
		}
	}
}

func (u *user) yields() bool { return u.Yield() == OwesOne }

// TestConnectionsOfProcesses holds that two processes on one storage have no
// more connections of a mailbox than its limit, that one without gets one, and
// that a killed one leaves its own.
func TestConnectionsOfProcesses(t *testing.T) {
	st := &certmagic.FileStorage{Path: t.TempDir()}
	la, a := newUser(t, st, 3)
	_, b := newUser(t, st, 3)
	for range 3 {
		if !a.take() {
			t.Fatal("no connection, though none is in use")
		}
	}
	if a.take() || b.take() {
		t.Fatal("a fourth connection")
	}
	// A process without a connection is noticed, and gets what is freed for it.
	for !a.yields() {
		if b.take() {
			t.Fatal("a fourth connection")
		}
		select { // as a pool that is woken while it waits, b asks again
		case <-a.woken:
		case <-b.woken:
		case <-t.Context().Done():
			t.Fatal("no process was asked to give a connection up")
		}
	}
	if a.yields() {
		t.Error("two connections for one process that waits")
	}
	a.Free()
	if a.take() {
		t.Error("what was given up was taken back at once")
	}
	b.wait(t, b.take)
	if b.take() || a.take() {
		t.Error("a fourth connection")
	}
	// The system lets go of a killed process's places.
	if err := la.sharing.file.Load().Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.wait(t, b.take)
	}
	if b.take() {
		t.Error("a fourth connection")
	}
	for range 3 {
		b.Free()
	}
	_, c := newUser(t, st, 3)
	if !c.take() {
		t.Error("a connection that was closed is not free")
	}
	c.Free()
}

// TestConnectionsTakenAlong holds that a reload to another storage counts there
// what is open.
func TestConnectionsTakenAlong(t *testing.T) {
	one, two := &certmagic.FileStorage{Path: t.TempDir()}, &certmagic.FileStorage{Path: t.TempDir()}
	l, a := newUser(t, one, 1)
	_, b := newUser(t, two, 1)
	_, c := newUser(t, one, 1)
	if !a.take() {
		t.Fatal("no connection, though none is in use")
	}
	l.Configure(Config{Limits: accounts.Limits{MaxConns: 1}, Storage: two})
	if b.take() {
		t.Error("a second connection on the storage that it moved to")
	}
	c.wait(t, c.take)
	a.Free()
	b.wait(t, b.take)
	b.Free()
	c.Free()
}

// TestSharesBecomePlaces holds that connections which other nodes had let be opened
// are places when a reload leaves the processes of one storage to themselves.
func TestSharesBecomePlaces(t *testing.T) {
	st := &certmagic.FileStorage{Path: t.TempDir()}
	f := new(fakeLender)
	f.lives(true)
	set := accounts.Limits{MaxConns: 3}
	l := NewLocal("up", Config{Limits: set, Lender: f})
	a := userOf(l, "m", "a")
	defer stop(l)
	defer a.Close()
	other := process(st, set)
	b := userOf(other, "m", "b")
	defer stop(other)
	defer b.Close()
	allow(l, 3)
	if !a.take() || !a.take() || !a.take() || !b.take() {
		t.Fatal("no connection, though none is in use there")
	}
	// One is beyond the limit of the two, until it is closed.
	l.Configure(Config{Limits: set, Storage: st})
	if a.take() || b.take() {
		t.Fatal("a fifth connection")
	}
	a.Free()
	if a.take() || b.take() {
		t.Fatal("a fourth connection")
	}
	b.Free()
	b.wait(t, b.take)
	if a.take() || b.take() {
		t.Fatal("a fourth connection")
	}
	for range 2 {
		a.Free()
		b.wait(t, b.take)
	}
	if a.take() || b.take() {
		t.Fatal("a fourth connection")
	}
	for range 3 {
		b.Free()
	}
}

// TestForgottenWant holds that a mailbox that was forgotten while it waited for a
// place takes nothing along that its successor waits by.
func TestForgottenWant(t *testing.T) {
	st := &certmagic.FileStorage{Path: t.TempDir()}
	_, a := newUser(t, st, 1)
	l := process(st, accounts.Limits{MaxConns: 1})
	defer stop(l)
	if !a.take() {
		t.Fatal("no connection, though none is in use")
	}
	first := userOf(l, "m@a.test", "a")
	if first.take() {
		t.Fatal("a second connection")
	}
	forgotten := l.shard("m@a.test").list()[0]
	first.Close()
	if !forgotten.dead {
		t.Fatal("the mailbox was not forgotten")
	}
	b := userOf(l, "m@a.test", "a")
	defer b.Close()
	if b.take() {
		t.Fatal("a second connection")
	}
	// The time of the forgotten one's want is over; the other is wanted on.
	forgotten.mu.Lock()
	forgotten.conns.wantUntil = min(forgotten.conns.wantUntil, 1)
	forgotten.mu.Unlock()
	for {
		l.sharing.mu.Lock()
		_, there := l.sharing.mailboxes[forgotten]
		l.sharing.mu.Unlock()
		if !there {
			break
		}
		if b.take() {
			t.Fatal("a second connection")
		}
		select {
		case <-b.woken:
		case <-t.Context().Done():
			t.Fatal("the forgotten mailbox is looked after for ever")
		}
	}
	for looks := 0; !a.yields(); looks++ {
		if b.take() {
			t.Fatal("a second connection")
		}
		if looks == 200 {
			t.Fatal("no process was asked to give a connection up")
		}
		select { // as a pool that is woken while it waits, b asks again
		case <-a.woken:
		case <-b.woken:
		case <-t.Context().Done():
			t.Fatal("no process was woken")
		}
	}
	a.Free()
	b.wait(t, b.take)
	b.Free()
}

// TestProcessesTakeTurns holds that of two processes on one storage that always
// have something to send neither starves: with one connection between them each
// has it again and again, and never both at once.
func TestProcessesTakeTurns(t *testing.T) {
	st := &certmagic.FileStorage{Path: t.TempDir()}
	_, a := newUser(t, st, 1)
	_, b := newUser(t, st, 1)
	var open atomic.Int32
	var both atomic.Bool
	var turns [2]atomic.Int32
	const each = 3
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a starved one fails
	defer cancel()
	var g sync.WaitGroup
	for i, u := range []*user{a, b} {
		g.Go(func() {
			// It gives up what it has only when it is asked to, as a busy pool does,
			// and asks for a connection of its own again at once.
			for turns[0].Load() < each || turns[1].Load() < each {
				if !u.take() {
					select {
					case <-u.woken:
					case <-ctx.Done():
						return
					}
					continue
				}
				if open.Add(1) > 1 {
					both.Store(true)
				}
				turns[i].Add(1)
				for !u.yields() && (turns[0].Load() < each || turns[1].Load() < each) {
					select {
					case <-u.woken:
					case <-ctx.Done():
						return
					}
				}
				open.Add(-1)
				u.Free()
			}
		})
	}
	g.Wait()
	one, two := turns[0].Load(), turns[1].Load()
	if both.Load() {
		t.Error("two connections at once: 1 is allowed")
	}
	if one < each || two < each {
		t.Errorf("one process had the connection %d times and the other %d times", one, two)
	}
	t.Logf("turns: %d and %d", one, two)
}
