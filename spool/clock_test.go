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
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// shiftStamps moves all that the host's clock has said in the files of a spool. Moved
// back by a day, it is as if the clock were a day ahead now.
func shiftStamps(t *testing.T, fsys *memFS, by time.Duration) {
	t.Helper()
	shift := func(at *time.Time) {
		if !at.IsZero() {
			*at = at.Add(by)
		}
	}
	for _, name := range fsys.files(store.MessageExt) {
		id := name[len(name)-len(store.MessageExt)-24 : len(name)-len(store.MessageExt)]
		old := fsys.names[name]
		r := record.New(old, id, nil)
		env, err := r.Start()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body(""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.SkipBody(); err != nil {
			t.Fatal(err)
		}
		lines, err := r.Journal()
		if err != nil {
			t.Fatal(err)
		}
		old.data = nil
		w := record.New(old, id, nil)
		shift(&env.Created)
		shift(&env.First)
		shift(&env.Asked)
		if err := w.Begin(env); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteBody(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Finish(int64(len(body))); err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			l := &lines[i]
			shift(&l.At)
			shift(&l.Next)
			shift(&l.Asked)
			if err := w.Append(l); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

const day = 24 * time.Hour

// TestClockAhead holds that mail is not given up because the host's clock is ahead at a
// start, once or at each: it is tried for as long as it would have been.
func TestClockAhead(t *testing.T) {
	for name, by := range map[string]time.Duration{"a day": day, "half a day": day / 2, "a year": 365 * day} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys, p := newMemFS(), newProvider()
				p.down = true
				on := func(tr *Transport) { tr.AlwaysKeep = false }
				tr := start(t, fsys, p, on)
				if _, err := send(tr, "a", "text"); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					time.Sleep(5 * time.Hour)
					stop(tr)
					shiftStamps(t, fsys, -by)
					tr = start(t, fsys, p, on)
				}
				defer func() { stop(tr) }()
				time.Sleep(6 * time.Hour)
				p.set(false)
				time.Sleep(2 * time.Hour) // 23 hours
				synctest.Wait()
				if sent, gaveUp := p.count("text"), tr.engine.status().Results["given_up"]; sent != 1 || gaveUp != 0 {
					t.Errorf("sent %d times, given up %d times", sent, gaveUp)
				}
			})
		})
	}
}

// TestClockBehind holds that a clock that is behind at a start puts no attempt off, with
// however many starts, and keeps no mail for ever.
func TestClockBehind(t *testing.T) {
	for name, by := range map[string]time.Duration{"a day": day, "a year": 365 * day} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys, p := newMemFS(), newProvider()
				p.down = true
				on := func(tr *Transport) { tr.AlwaysKeep = false }
				tr := start(t, fsys, p, on)
				reply, err := send(tr, "a", "text")
				if err != nil {
					t.Fatal(err)
				}
				id := idOf(reply)
				time.Sleep(3 * time.Hour) // it is tried each hour now
				stop(tr)
				shiftStamps(t, fsys, by)
				for range 3 {
					before := -1
					for range 15 { // restarts within two hours and a half
						tr = start(t, fsys, p, on)
						m, err := Get(id)
						if err != nil {
							t.Fatal(err)
						}
						if before < 0 {
							before = m.Attempts
						}
						time.Sleep(10 * time.Minute)
						stop(tr)
					}
					tr = start(t, fsys, p, on)
					if m, err := Get(id); err != nil || m.Attempts < before+2 {
						t.Fatalf("%d attempts, and %+v two hours and a half later, %v", before, m, err)
					}
					stop(tr)
				}
				// Ten hours and a half are over.
				tr = start(t, fsys, p, on)
				defer func() { stop(tr) }()
				time.Sleep(12 * time.Hour)
				synctest.Wait()
				if n := tr.engine.status().Messages; n != 1 {
					t.Errorf("%d messages after 22 hours and a half", n)
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if res := tr.engine.status().Results["given_up"]; res != 1 {
					t.Errorf("given up %d times after 24 hours and a half", res)
				}
			})
		})
	}
}

// TestNothingTried holds that mail of which the journal says nothing, since its account
// is paused, grows old over many starts, and by kills, whatever the host's clock says.
func TestNothingTried(t *testing.T) {
	for name, end := range map[string]func(tr *Transport, fsys *memFS) *memFS{
		"stopped": func(tr *Transport, fsys *memFS) *memFS { stop(tr); return fsys },
		"killed": func(tr *Transport, fsys *memFS) *memFS {
			after := fsys.crash()
			fsys.mu.Lock()
			fsys.before = func(string) error { return errCrash }
			fsys.mu.Unlock()
			stop(tr)
			return after
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys, p := newMemFS(), newProvider()
				p.down = true
				begin := func() *Transport {
					tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
					tr.UseAccounts(func(name string) (*accounts.Account, bool) {
						return &accounts.Account{Record: accounts.Record{Name: name, Paused: true}}, true
					})
					return tr
				}
				tr := begin()
				if _, err := send(tr, "a", "text"); err != nil {
					t.Fatal(err)
				}
				for i := range 4 {
					time.Sleep(5*time.Hour + 50*time.Minute)
					fsys = end(tr, fsys)
					shiftStamps(t, fsys, []time.Duration{-2 * day, 3 * day}[i%2])
					tr = begin()
					synctest.Wait()
					if n := tr.engine.status().Messages; n != 1 {
						t.Fatalf("%d messages after start %d", n, i)
					}
				}
				defer func() { stop(tr) }()
				time.Sleep(time.Hour)
				synctest.Wait()
				if res := tr.engine.status().Results["given_up"]; res != 1 {
					t.Errorf("given up %d times after 24 hours and 20 minutes", res)
				}
			})
		})
	}
}

// TestClockLost holds that mail is as old as its journal says, where the spool's clock
// is another one or cannot be read or written.
func TestClockLost(t *testing.T) {
	for name, lose := range map[string]func(fsys *memFS){
		"gone":     func(fsys *memFS) { fsys.slate = nil },
		"damaged":  func(fsys *memFS) { fsys.slate = []byte("abcdef01 00000x\n") },
		"another":  func(fsys *memFS) { fsys.slate = []byte("abcdef01 00000000999999999999\n") },
		"endless":  func(fsys *memFS) { fsys.slate = []byte("abcdef01 99999999999999999999\n") },
		"no slate": func(fsys *memFS) { fsys.dull = true },
		"unwritable": func(fsys *memFS) {
			fsys.slate = nil
			fsys.before = func(op string) error {
				if op == "slate" {
					return errNoSpace
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys, p := newMemFS(), newProvider()
				p.down = true
				on := func(tr *Transport) { tr.AlwaysKeep = false }
				tr := start(t, fsys, p, on)
				if _, err := send(tr, "a", "text"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Hour)
				stop(tr)
				lose(fsys)
				shiftStamps(t, fsys, -day) // the host's clock is ahead
				tr = start(t, fsys, p, on)
				defer func() { stop(tr) }()
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				if n := tr.engine.status().Messages; n != 1 {
					t.Errorf("%d messages after 23 hours", n)
				}
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				if res := tr.engine.status().Results["given_up"]; res != 1 {
					t.Errorf("given up %d times after 26 hours", res)
				}
			})
		})
	}
}

// TestClockOfIdle holds that the clock goes on from what a message says, where it was
// not written since the last one left.
func TestClockOfIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		on := func(tr *Transport) { tr.AlwaysKeep = false }
		tr := start(t, fsys, p, on)
		time.Sleep(30 * day)
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		after := fsys.crash()
		stop(tr)
		tr = start(t, after, p, on)
		defer func() { stop(tr) }()
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if res := tr.engine.status().Results["given_up"]; res != 1 {
			t.Errorf("given up %d times", res)
		}
	})
}
