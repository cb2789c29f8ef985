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

package ondemand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
)

func TestMain(m *testing.M) {
	password.Process() // not of a bubble
	goleak.VerifyTestMain(m)
}

// table is a source in memory.
type table struct {
	mu    sync.Mutex
	rows  map[string]string // the mailbox, or "bad"
	err   error
	takes time.Duration // of a read
	reads [][]string
}

func (t *table) Read(ctx context.Context, names []string) (map[string]Found, error) {
	t.mu.Lock()
	names = slices.Sorted(slices.Values(names))
	t.reads = append(t.reads, names)
	found, err := make(map[string]Found), t.err
	for _, n := range names {
		mailbox, ok := t.rows[n]
		switch {
		case !ok:
		case mailbox == "bad":
			found[n] = Found{Problem: accounts.Problem{Source: "table", Account: n, Field: "spool", Message: "bad"}}
		default:
			a, err := accounts.Compile(accounts.Record{Name: n, Upstream: "up", Mailbox: mailbox}, "table")
			if err != nil {
				panic(err)
			}
			found[n] = Found{Account: a}
		}
	}
	takes := t.takes
	t.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return found, err
}

func (t *table) set(name, mailbox string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mailbox == "" {
		delete(t.rows, name)
		return
	}
	t.rows[name] = mailbox
}

func (t *table) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// taken returns the reads since the last call.
func (t *table) taken() [][]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	reads := t.reads
	t.reads = nil
	return reads
}

// begin runs a cache in a bubble and returns it with its table.
func begin(t *testing.T, set Options, names ...string) (*Cache, *table) {
	t.Helper()
	tab := &table{rows: make(map[string]string)}
	for _, n := range names {
		tab.set(n, n)
	}
	for p, def := range map[*time.Duration]time.Duration{&set.Fresh: time.Minute, &set.Stale: time.Hour, &set.Negative: 10 * time.Second} {
		if *p == 0 {
			*p = def
		}
	}
	for p, def := range map[*int]int{&set.Size: 100, &set.Batch: 10, &set.Readers: 2} {
		if *p == 0 {
			*p = def
		}
	}
	c := New("table", tab, set, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		loop.Wait()
	})
	synctest.Wait()
	tab.taken()
	return c, tab
}

// mailbox is what the directory would find: "" nothing, "?" not known.
func mailbox(t *testing.T, c *Cache, name string) string {
	t.Helper()
	if a, ok := c.Index().Get(name); ok {
		return a.Mailbox
	}
	a, err := c.Load(t.Context(), name)
	switch {
	case err != nil:
		return "?"
	case a == nil:
		return ""
	}
	return a.Mailbox
}

func wants(t *testing.T, c *Cache, name, want string) {
	t.Helper()
	if got := mailbox(t, c, name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func TestReadsOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{}, "a", "b")
		if n := c.Index().Len(); n != 0 {
			t.Errorf("%d accounts are held that nobody asked for", n)
		}
		wants(t, c, "A", "a")
		wants(t, c, "a", "a")
		wants(t, c, "x", "")
		wants(t, c, "x", "")
		wants(t, c, "bad\x00name", "")
		if got := fmt.Sprint(tab.taken()); got != "[[a] [x]]" {
			t.Errorf("read %s, want each name once", got)
		}
		// An unknown name may have got a row meanwhile.
		tab.set("x", "x")
		time.Sleep(10*time.Second + 1)
		wants(t, c, "x", "x")
	})
}

func TestOneReadForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{Readers: 1}, "a", "b", "c", "d")
		tab.takes = time.Second
		var wg sync.WaitGroup
		wg.Go(func() { wants(t, c, "a", "a") })
		synctest.Wait() // the first is read
		for range 50 {
			for _, n := range []string{"a", "b", "c", "d"} {
				wg.Go(func() { wants(t, c, n, n) })
			}
		}
		wg.Wait()
		reads := tab.taken()
		if len(reads) != 2 || len(reads[0])+len(reads[1]) != 4 {
			t.Errorf("read %v, want each name once, in two reads", reads)
		}
	})
}

func TestWhoLeavesStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{}, "a")
		tab.takes = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if a, err := c.Load(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v, want the caller's deadline", a, err)
		}
		wants(t, c, "a", "a")
		if n := len(tab.taken()); n != 1 {
			t.Errorf("%d reads, want that of the first", n)
		}
	})
}

func TestChangesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{}, "a", "b")
		wants(t, c, "a", "a")
		wants(t, c, "b", "b")
		was, _ := c.Index().Get("b")

		// By what the source says, at once; of names that are not held, too.
		wants(t, c, "new", "")
		tab.set("a", "other")
		tab.set("new", "new")
		c.Changed("A", "new", "unknown")
		synctest.Wait()
		wants(t, c, "a", "other")
		wants(t, c, "new", "new")

		// By themselves.
		tab.set("a", "third")
		tab.set("new", "")
		time.Sleep(time.Minute + 1)
		synctest.Wait()
		tab.taken()
		wants(t, c, "a", "third")
		wants(t, c, "new", "")
		if got := tab.taken(); got != nil {
			t.Errorf("read %v for what is known", got)
		}

		// All of them.
		tab.set("a", "fourth")
		c.ChangedAll()
		synctest.Wait()
		wants(t, c, "a", "fourth")
		if is, _ := c.Index().Get("b"); is != was {
			t.Error("an account that did not change was replaced")
		}
	})
}

// TestChangeDuringRead holds that what changes while it is read is read again.
func TestChangeDuringRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{}, "a", "b")
		wants(t, c, "b", "b")
		tab.takes = time.Second
		go mailbox(t, c, "a") // what it reads is old when it ends
		c.Changed("b")        // and that too
		synctest.Wait()
		tab.set("a", "newer")
		tab.set("b", "newer")
		c.Changed("a", "b")
		// The loop may have begun with b alone: a third read ends as this does.
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wants(t, c, "a", "newer")
		wants(t, c, "b", "newer")

		// The name had no row yet.
		go mailbox(t, c, "c")
		synctest.Wait()
		tab.set("c", "c")
		c.ChangedAll()
		time.Sleep(2 * time.Second)
		wants(t, c, "c", "c")
	})
}

func TestSizeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{Size: 20})
		for i := range 50 {
			name := fmt.Sprintf("n%02d", i)
			tab.set(name, name)
			wants(t, c, name, name)
		}
		if n := c.Index().Len(); n != 20 {
			t.Errorf("%d accounts are held, want 20", n)
		}
		wants(t, c, "n00", "n00")
		for i := range 3 * maxLooked {
			wants(t, c, fmt.Sprint("x", i), "")
		}
		synctest.Wait() // the last reader leaves after its answer
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.looked); n == 0 || n > maxLooked {
			t.Errorf("%d unknown names are remembered, want at most %d", n, maxLooked)
		}
		if n := len(c.flights) + c.readers + len(c.waiting); n != 0 {
			t.Errorf("%d things are left of reads that ended", n)
		}
	})
}

func TestSourceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{Fresh: time.Minute, Stale: 10 * time.Minute}, "a", "b")
		wants(t, c, "a", "a")
		wants(t, c, "x", "")
		began := time.Now()
		tab.taken()
		tab.fail(errors.New("connection refused"))
		wants(t, c, "b", "?")
		if _, err := c.Load(t.Context(), "b"); err == nil || err.Error() != "it could not be read: connection refused" {
			t.Errorf("got %v, want the reason", err)
		}
		if n := len(tab.taken()); n != 1 {
			t.Errorf("%d reads at once, want that of the first who asked", n)
		}
		if p := c.Problems(); len(p) != 1 || p[0].Message != "cannot be read: connection refused" {
			t.Errorf("problems %v, want that it cannot be read", p)
		}

		// What is held goes on, without a read for who asks.
		for time.Since(began) < 9*time.Minute {
			wants(t, c, "a", "a")
			time.Sleep(time.Second)
		}
		if n := len(tab.taken()); n < 20 || n > 200 {
			t.Errorf("%d attempts in nine minutes", n)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		wants(t, c, "a", "?")

		// Nobody has to ask for the source to be found again.
		tab.fail(nil)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if p := c.Problems(); p != nil {
			t.Errorf("problems %v of a source that can be read", p)
		}
		wants(t, c, "a", "a")
		wants(t, c, "b", "b")
	})
}

// TestSourceHangs holds that who comes while a read hangs waits for that one and
// no longer.
func TestSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{Readers: 1})
		tab.fail(errors.New("timeout"))
		tab.takes = 10 * time.Second
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				wants(t, c, fmt.Sprint("n", i), "?")
				if d := time.Since(began); d > 10*time.Second {
					t.Errorf("waited %s", d)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if n := len(tab.taken()); n != 1 {
			t.Errorf("%d reads, want one", n)
		}
	})
}

func TestBadRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{}, "a", "b")
		wants(t, c, "a", "a")
		wants(t, c, "b", "b")
		tab.set("a", "bad")
		c.Changed("a")
		synctest.Wait()
		// Not the version before: a row is what its writer meant.
		wants(t, c, "a", "?")
		wants(t, c, "b", "b")
		if p := c.Problems(); len(p) != 1 || p[0].Account != "a" || p[0].Field != "spool" {
			t.Errorf("problems %v, want that of a", p)
		}
		tab.set("a", "good")
		time.Sleep(10*time.Second + 1)
		wants(t, c, "a", "good")
		if p := c.Problems(); p != nil {
			t.Errorf("problems %v of a record that is good again", p)
		}
		tab.set("a", "bad")
		c.Changed("a")
		synctest.Wait()
		tab.set("a", "")
		time.Sleep(time.Minute + 1)
		synctest.Wait()
		wants(t, c, "a", "")
		if p := c.Problems(); p != nil {
			t.Errorf("problems %v of a record that is gone", p)
		}
	})
}

// TestSourceIsLookedAt holds that a source which cannot be read is known without
// anybody's asking: at the start, and where nothing is held.
func TestSourceIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := &table{rows: make(map[string]string), err: errors.New("away")}
		c := New("table", tab, Options{Size: 10, Fresh: time.Minute, Stale: time.Hour, Negative: time.Second, Batch: 10, Readers: 2}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { c.Run(ctx) })
		defer loop.Wait()
		defer cancel()
		synctest.Wait()
		if p := c.Problems(); len(p) != 1 || !p[0].Unread() {
			t.Errorf("problems %v at the start", p)
		}
		tab.fail(nil)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if p := c.Problems(); p != nil {
			t.Errorf("problems %v of a source that can be read", p)
		}
		tab.fail(errors.New("away again"))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p := c.Problems(); len(p) != 1 || !p[0].Unread() {
			t.Errorf("problems %v of a source that nobody asks", p)
		}
	})
}

// TestGone holds that it is known of an account that was held and is no more, also if its
// record has become a bad one, until there is one again; and of none that had to make room, or that
// could not be read.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, tab := begin(t, Options{Size: 3}, "a", "b", "c", "d")
		load := func(name string) {
			t.Helper()
			if _, err := c.Load(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range []string{"a", "b", "c", "d"} { // a has to go
			load(n)
		}
		wants := func(when string, names ...string) {
			t.Helper()
			synctest.Wait()
			var gone []string
			for _, n := range []string{"a", "b", "c", "d", "nobody"} {
				if c.Gone(strings.ToUpper(n)) {
					gone = append(gone, n)
				}
			}
			if !slices.Equal(gone, names) {
				t.Errorf("%s: %v are gone, want %v", when, gone, names)
			}
		}
		load("nobody")
		wants("at first")
		tab.set("b", "")
		tab.set("c", "bad")
		c.Changed("b", "c")
		time.Sleep(time.Second)
		wants("deleted and spoiled", "b", "c")
		tab.set("b", "b")
		c.Changed("b")
		load("b")
		time.Sleep(11 * time.Second)
		load("b")
		wants("there again", "c")
		tab.fail(errors.New("away"))
		time.Sleep(2 * time.Hour)
		wants("away for long")
	})
}
