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
	"math"
	"sync/atomic"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
)

// fakeLender lends what a test allows.
type fakeLender struct{ until atomic.Int64 }

func (*fakeLender) Adopt(*Local)    {}
func (*fakeLender) Release(*Local)  {}
func (*fakeLender) Lacks(string)    {}
func (*fakeLender) Dropped(string)  {}
func (*fakeLender) Due(string)      {}
func (f *fakeLender) Until() int64  { return f.until.Load() }
func (*fakeLender) wake()           {}
func allow(l *Local, n int64)       { l.Look("m", func(b *Book) { b.Allow(ConnsKey, n) }) }
func lower(l *Local, n int64)       { l.Look("m", func(b *Book) { b.Lower(ConnsKey, n) }) }
func (f *fakeLender) lives(is bool) { f.until.Store(map[bool]int64{true: math.MaxInt64}[is]) }

// TestDials holds that a connection that was taken is opened only while the right
// to it lasts: a paused process finds that it has another lease, but not that
// connection.
func TestDials(t *testing.T) {
	f := new(fakeLender)
	l := NewLocal("up", Config{Limits: accounts.Limits{MaxConns: 3}, Lender: f})
	defer stop(l)
	acct := l.Account("m", "a", nil)
	defer acct.Close()
	a := acct.Holder()
	defer a.Close()
	f.lives(true)
	allow(l, 2)
	for range 2 {
		if !a.Take(f.wake) {
			t.Fatal("no connection of those that may be used")
		}
	}
	if !a.Dials() {
		t.Error("refused with a lease and a share")
	}
	if lower(l, 1); !a.Dials() {
		t.Error("refused because others want one: the share counts it until it is closed")
	}
	if f.lives(false); a.Dials() {
		t.Error("allowed without a lease")
	}
	l.Forget(f)
	if f.lives(true); a.Dials() {
		t.Error("allowed in another life, which has no share yet")
	}
	if allow(l, 1); a.Dials() {
		t.Error("allowed with a share of one, when two are taken")
	}
	if a.Free(); !a.Dials() {
		t.Error("refused with a share of the one that is left")
	}
	if l.Forget(f); a.Dials() {
		t.Error("allowed after another lease's end")
	}
	a.Free()
	if a.Take(f.wake) {
		t.Error("a connection was lent without a share")
	}
	allow(l, 1)
	if !a.Take(f.wake) || !a.Dials() {
		t.Error("refused with a share")
	}
	a.Free()
	n := 0
	l.InUse(func(string) { n++ })
	if n != 0 {
		t.Errorf("%d mailboxes in use", n)
	}
}
