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

package limits

import (
	"testing"
	"testing/synctest"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/accounts"
)

// holding is a holder with what it was woken by.
type holding struct {
	Holder
	woken chan struct{}
}

func (h *holding) take() bool {
	return h.Take(func() {
		select {
		case h.woken <- struct{}{}:
		default:
		}
	})
}

// until tries whenever one of the holders is woken.
func until(t *testing.T, try func() bool, woken ...*holding) {
	t.Helper()
	for !try() {
		select {
		case <-woken[0].woken:
		case <-woken[len(woken)-1].woken:
		case <-t.Context().Done():
			t.Fatal("the limiter woke no holder")
		}
	}
}

// eachKind runs a test with two holders of a mailbox with two connections: whose
// counts are in memory, whose places are files' bytes, whose share another node
// lends.
func eachKind(t *testing.T, f func(t *testing.T, a, b *holding)) {
	for name, c := range map[string]Config{
		"memory": {},
		"files":  {Storage: &certmagic.FileStorage{Path: t.TempDir()}},
		"share":  {Lender: new(fakeLender)},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { withHolders(t, c, f) }) })
	}
}

func withHolders(t *testing.T, c Config, f func(t *testing.T, a, b *holding)) {
	c.Limits = accounts.Limits{MaxConns: 2}
	if lender, ok := c.Lender.(*fakeLender); ok {
		lender.lives(true)
	}
	l := NewLocal("up", c)
	defer stop(l)
	acct := l.Account("m", "a", nil)
	defer acct.Close()
	a, b := &holding{acct.Holder(), make(chan struct{}, 1)}, &holding{acct.Holder(), make(chan struct{}, 1)}
	defer a.Close()
	defer b.Close()
	a.OnRecall(func(int) {})
	allow(l, 2)
	f(t, a, b)
	if m := l.shard("m").list()[0]; m.conns.n != 0 || len(m.conns.held) != 0 {
		t.Errorf("%d connections and %d places are left", m.conns.n, len(m.conns.held))
	}
}

// TestHoldersShare holds that the holders of one mailbox have no more connections
// than it has, and that one which has none gets another's, which does not take it
// back at once.
func TestHoldersShare(t *testing.T) {
	eachKind(t, func(t *testing.T, a, b *holding) {
		if !a.take() || !a.take() {
			t.Fatal("no connection, though none is in use")
		}
		if a.take() || b.take() {
			t.Fatal("a third connection")
		}
		until(t, func() bool {
			if b.take() {
				t.Fatal("a third connection")
			}
			return a.Yield() == OwesOne
		}, a, b)
		if !a.Wanted() || b.Wanted() {
			t.Errorf("wanted of the one that has all: %t, of the one that has none: %t", a.Wanted(), b.Wanted())
		}
		if b.take() || a.Yield() != NoDebt {
			t.Error("two connections for one that waits")
		}
		a.Free()
		if a.Wanted() {
			t.Error("wanted after it gave up what it owed")
		}
		if a.take() {
			t.Error("what was given up was taken back at once")
		}
		until(t, b.take, b)
		if a.take() || b.take() {
			t.Error("a third connection")
		}
		b.Free()
		until(t, a.take, a)
		a.Free()
		a.Free()
	})
}

// TestHolderIdle holds that a holder which could use more is given what another has
// idle, and nothing else.
func TestHolderIdle(t *testing.T) {
	eachKind(t, func(t *testing.T, a, b *holding) {
		if !a.take() || !b.take() || b.take() {
			t.Fatal("two connections are not shared by two")
		}
		until(t, func() bool { return a.Yield() == OwesIdle }, a)
		if a.Wanted() {
			t.Error("a busy connection is wanted by one that has some")
		}
		a.Free() // it was idle
		until(t, b.take, b)
		if b.take() {
			t.Fatal("a third connection")
		}
		b.Free()
		b.Free()
	})
}

// TestHolderGone holds that a holder which no longer waits keeps nothing from the
// others.
func TestHolderGone(t *testing.T) {
	eachKind(t, func(t *testing.T, a, b *holding) {
		if !a.take() || !a.take() || b.take() {
			t.Fatal("no connection, though none is in use")
		}
		a.Free()
		if a.take() {
			t.Fatal("taken from one that waits")
		}
		until(t, a.take, a) // b was woken and did not come
		a.Free()
		a.Free()
	})
}
