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

package spool

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/delivery"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// lazyFS is the disk without its syncs: what is measured is not the disk.
type lazyFS struct{ disk.OS }

func (lazyFS) SyncDir(string) error { return nil }

func (f lazyFS) Create(path string) (disk.File, error) { return lazy(f.OS.Create(path)) }
func (f lazyFS) Open(path string) (disk.File, error)   { return lazy(f.OS.Open(path)) }

func lazy(f disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return lazyFile{f}, nil
}

type lazyFile struct{ disk.File }

func (lazyFile) Sync() error { return nil }

// halfDead is a provider that one account cannot reach.
type halfDead struct {
	relay.Transport
	alive    atomic.Bool
	singly   bool         // it answers, and defers each message of the account
	got      atomic.Int64 // of the dead one
	others   atomic.Int64
	attempts atomic.Int64 // of the dead one
}

func (p *halfDead) Begin(_ context.Context, a *accounts.Account, _ string, _ *smtp.MailOptions) (relay.Transaction, error) {
	if a.Name != "dead" {
		return &countTx{&p.others}, nil
	}
	if p.attempts.Add(1); !p.alive.Load() {
		if p.singly {
			return &deferTx{}, nil
		}
		return nil, relay.ReplyUpstreamDown
	}
	return &countTx{&p.got}, nil
}

// deferTx defers each recipient.
type deferTx struct{ countTx }

func (*deferTx) Rcpt(context.Context, string, *smtp.RcptOptions) error {
	return &relay.Reply{Code: 450, Enhanced: smtp.EnhancedCode{4, 2, 1}, Lines: []string{"Mailbox busy"}}
}

type countTx struct{ n *atomic.Int64 }

func (*countTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }
func (*countTx) Abort()                                                {}

func (tx *countTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return relay.Reply{}, err
	}
	tx.n.Add(1)
	return *relay.ReplyOK, nil
}

// TestManyOfOne keeps many messages of an account that cannot send, while ten others'
// flow: these are not slowed down by it, memory and the start stay within bounds, and all
// leave when it can. MAILGATEWAY_SPOOL_MANY is how many (default 3,000).
func TestManyOfOne(t *testing.T) {
	for name, singly := range map[string]bool{"account": false, "singly": true} {
		t.Run(name, func(t *testing.T) { manyOfOne(t, singly) })
	}
}

func manyOfOne(t *testing.T, singly bool) {
	t.Helper()
	many := 3000
	if n, err := strconv.Atoi(os.Getenv("MAILGATEWAY_SPOOL_MANY")); err == nil {
		many = n
	}
	p := &halfDead{singly: singly}
	on := func(tr *Transport) {
		tr.Directory, tr.MaxMessages, tr.next = filepath.Join(t.TempDir(), "d"), many+1000, p
	}
	tr := start(t, lazyFS{}, nil, on)
	flow := func() time.Duration {
		const each = 50
		began, was := time.Now(), p.others.Load()
		for i := range each {
			for o := range 10 {
				if _, err := send(tr, fmt.Sprint("other", o), fmt.Sprint("text ", i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for p.others.Load() < was+10*each {
			time.Sleep(time.Millisecond)
		}
		return time.Since(began)
	}
	alone := flow()
	began := time.Now()
	for i := range many {
		if _, err := send(tr, "dead", fmt.Sprint("text ", i)); err != nil {
			t.Fatal(err)
		}
	}
	for singly && p.attempts.Load() < int64(many) {
		time.Sleep(time.Millisecond) // each is deferred for itself
	}
	t.Logf("%d kept in %v, %d attempts", many, time.Since(began), p.attempts.Load())
	beside := flow()
	t.Logf("ten accounts' 500: %v alone, %v beside %d of another", alone, beside, many)
	if beside > 20*alone+time.Second {
		t.Errorf("the others take %v in place of %v", beside, alone)
	}
	dir := tr.Directory
	stop(tr)
	var before, after runtime.MemStats
	tr = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	began = time.Now()
	tr = start(t, lazyFS{}, nil, func(tr *Transport) { on(tr); tr.Directory = dir })
	defer func() { stop(tr) }()
	took := time.Since(began)
	for !tr.engine.status().Ready {
		time.Sleep(time.Millisecond) // so many are read behind the start
	}
	read := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(many) //nolint:gosec // a test's
	t.Logf("start with %d: %v, all read in %v, %d octets of memory a message", many, took, read, each)
	if each > 4<<10 {
		t.Errorf("%d octets of memory a message", each)
	}
	p.alive.Store(true)
	began = time.Now()
	for _, m := range Messages("dead", "") {
		if err := Release(m.ID); err != nil {
			// Its turn came.
			continue
		}
	}
	t.Logf("released in %v", time.Since(began))
	for deadline := time.Now().Add(10 * time.Minute); p.got.Load() < int64(many); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d sent", p.got.Load(), many)
		}
	}
	t.Logf("all sent in %v", time.Since(began))
}

// filled is an engine that has so many deferred messages of one account, and runs
// nothing.
func filled(t *testing.T, n int) *engine {
	t.Helper()
	tr := &Transport{Upstream: "p", Directory: "/spool/" + t.Name(), Hostname: "here", fs: newMemFS(), logger: zap.NewNop()}
	if err := tr.Bind("kept"); err != nil {
		t.Fatal(err)
	}
	e := newEngine(tr)
	e.configure(tr)
	for range n {
		e.take(deferred("dead"), 1)
	}
	return e
}

func deferred(account string) *record.Envelope {
	now := time.Now()
	return &record.Envelope{
		ID: store.NewID(now), Account: account, From: "from@example.com", Created: now, First: now.Add(delivery.Delay(6, 0)), Reply: "450",
		Rcpts: []relay.Recipient{{To: "to@example.org"}},
	}
}

// quickest is the shortest of several times.
func quickest(do func()) time.Duration {
	best := time.Duration(math.MaxInt64)
	for range 5 {
		began := time.Now()
		do()
		best = min(best, time.Since(began))
	}
	return best
}

// TestNobodyScans holds that what is done at each wake-up, for each message that comes
// or goes, and for a page of the list, does not grow with the messages of an account
// that wait.
func TestNobodyScans(t *testing.T) {
	const few, many, times = 1000, 100_000, 300
	small, large := filled(t, few), filled(t, many)
	for name, do := range map[string]func(e *engine){
		"wake-up": func(e *engine) { e.due(time.Now()) },
		"status":  func(e *engine) { e.status() },
		"page":    func(e *engine) { e.list(Filter{Limit: 5}) },
		"come and go": func(e *engine) {
			env := deferred("dead")
			e.take(env, 1)
			e.due(time.Now())
			e.mu.Lock()
			m := e.all[env.ID]
			e.occupied(m)
			m.gone = true
			e.free(m)
			e.mu.Unlock()
		},
	} {
		a := quickest(func() {
			for range times {
				do(small)
			}
		})
		b := quickest(func() {
			for range times {
				do(large)
			}
		})
		t.Logf("%s: %v with %d, %v with %d", name, a/times, few, b/times, many)
		if b > 10*a {
			t.Errorf("%s takes %v with %d messages and %v with %d", name, a/times, few, b/times, many)
		}
	}
	if st := large.status(); st.Messages != many || st.Octets != many || st.Held+st.Sending != 0 || st.Accounts != 1 {
		t.Errorf("status %+v", st)
	}
}

// TestPages holds that the pages of a list make the whole of it, in order, whatever
// goes meanwhile.
func TestPages(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
	defer stop(tr)
	const n = 2500
	var ids []string
	for i := range n {
		reply, err := send(tr, fmt.Sprint("a", i%3), "text")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, idOf(reply))
	}
	for i := 0; i < n; i += 7 {
		if err := Hold(ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		f    Filter
		want func(i int) bool
	}{
		"all":     {Filter{Limit: 100}, func(int) bool { return true }},
		"large":   {Filter{Limit: 2000}, func(int) bool { return true }},
		"exact":   {Filter{Limit: n}, func(int) bool { return true }},
		"account": {Filter{Limit: 10, Account: "a1"}, func(i int) bool { return i%3 == 1 }},
		"held":    {Filter{Limit: 10, State: "held"}, func(i int) bool { return i%7 == 0 }},
		"none":    {Filter{Limit: 10, Account: "a9"}, func(int) bool { return false }},
	} {
		var got []string
		for {
			list, next := List(tc.f)
			if len(list) > tc.f.Limit || next != "" && len(list) != tc.f.Limit {
				t.Fatalf("%s: a page of %d", name, len(list))
			}
			for _, m := range list {
				got = append(got, m.ID)
			}
			if tc.f.After = next; next == "" {
				break
			}
		}
		var want []string
		for i, id := range ids {
			if tc.want(i) {
				want = append(want, id)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d listed, want %d", name, len(got), len(want))
		}
	}
	first, next := List(Filter{Limit: 100})
	for _, m := range first {
		if err := Delete(m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if rest, more := List(Filter{After: next}); len(rest) != n-100 || more != "" || rest[0].ID != ids[100] {
		t.Errorf("%d messages behind what is gone", len(rest))
	}
}
