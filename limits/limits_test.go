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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits/internal/window"
	"github.com/caddymail/mailgateway/limits/lane"
	"github.com/caddymail/mailgateway/limits/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// memory is a storage that can fail and be copied.
type memory struct {
	certmagic.Storage
	locks sync.Mutex
	mu    sync.Mutex
	files map[string][]byte
	err   error
	wrote int
}

func newMemory() *memory { return &memory{files: make(map[string][]byte)} }

func (m *memory) Lock(context.Context, string) error {
	m.locks.Lock() //nolint:staticcheck // Unlock is the other method
	return nil
}

func (m *memory) Unlock(context.Context, string) error {
	m.locks.Unlock()
	return nil
}

func (m *memory) Store(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.files[key] = append([]byte(nil), value...)
	m.wrote++
	return nil
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append([]byte(nil), b...), nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, key)
	return nil
}

func (m *memory) List(_ context.Context, prefix string, _ bool) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.files {
		if rest, ok := strings.CutPrefix(k, prefix+"/"); ok && !strings.Contains(rest, "/") {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (m *memory) writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wrote
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// copy is what a machine that lost its power would find.
func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	for k, v := range m.files {
		c.files[k] = v
	}
	return c
}

func process(st certmagic.Storage, l accounts.Limits) *Local {
	if l.MaxConns == 0 {
		l.MaxConns = 10
	}
	if m, ok := st.(*memory); ok {
		st = &mortal{memory: m}
	}
	return NewLocal("up", Config{Limits: l, Storage: st})
}

// mortal is the storage as one process sees it, which writes no more when it has
// ended.
type mortal struct {
	*memory
	dead atomic.Bool
}

func (m *mortal) Store(ctx context.Context, key string, value []byte) error {
	if m.dead.Load() {
		return errors.New("the process has ended")
	}
	return m.memory.Store(ctx, key, value)
}

func stop(l *Local) {
	l.Close()
	l.Wait()
}

var impatient = Request{MaxWait: time.Second, MaxWaiting: 1000}

// spend sends until a limit is used up and returns how many messages went.
func spend(t *testing.T, l *Local, mailbox, acct string, own *accounts.Limits, most int) int {
	t.Helper()
	a := l.Account(mailbox, acct, own)
	defer a.Close()
	for n := range most {
		s, err := a.Reserve(t.Context(), impatient)
		if _, used := errors.AsType[*QuotaError](err); used || errors.Is(err, ErrNotStored) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		a.Commit(s, 1)
	}
	return most
}

// TestTwoProcesses lets two processes on one storage send, restart and be
// killed in turn. The sum never passes the limit.
func TestTwoProcesses(t *testing.T) {
	for name, st := range map[string]func(*testing.T) certmagic.Storage{
		"signs of life": func(*testing.T) certmagic.Storage { return newMemory() },
		"flock":         func(t *testing.T) certmagic.Storage { return &certmagic.FileStorage{Path: t.TempDir()} },
	} {
		t.Run(name, func(t *testing.T) {
			const limit = 300
			storage := st(t)
			set := accounts.Limits{Messages: accounts.Rate{Count: limit, Per: day}}
			var all [2]*Local
			for i := range all {
				all[i] = process(storage, set)
			}
			sent := 0
			for round := range 20 {
				sent += spend(t, all[round%2], "m", "a", nil, 7)
				i := (round / 2) % 2
				if round%3 == 0 {
					kill(all[i])
				} else {
					stop(all[i])
				}
				all[i] = process(storage, set)
			}
			if sent != 140 {
				t.Errorf("%d of 140 messages went, long before the limit", sent)
			}
			for range 3 {
				for i := range all {
					sent += spend(t, all[i], "m", "a", nil, limit)
				}
			}
			if sent > limit {
				t.Errorf("%d messages of %d", sent, limit)
			}
			if sent < limit/2 {
				t.Errorf("only %d messages of %d", sent, limit)
			}
			for i := range all {
				stop(all[i])
			}
		})
	}
}

// TestKilledAtFullSpeed kills a process thirty times while it sends as fast as
// it can.
func TestKilledAtFullSpeed(t *testing.T) {
	const limit = 500
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	set := accounts.Limits{Messages: accounts.Rate{Count: limit, Per: day}, Recipients: accounts.Rate{Count: 3 * limit, Per: day}}
	sent := 0
	for n := range 30 {
		l := process(storage, set)
		sent += spend(t, l, "m", "a", nil, 3+n)
		kill(l)
	}
	l := process(storage, set)
	sent += spend(t, l, "m", "a", nil, limit)
	stop(l)
	if sent > limit {
		t.Errorf("%d messages of %d", sent, limit)
	}
	if sent < limit-31*10 {
		t.Errorf("thirty kills cost %d messages", limit-sent)
	}
}

// TestNothingBeyondTheStore lets the storage fail: what is stored ahead goes,
// nothing else does, and it goes on by itself.
func TestNothingBeyondTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		set := accounts.Limits{Messages: accounts.Rate{Count: 1000, Per: day}, Recipients: accounts.Rate{Count: 1000, Per: day}}
		l := process(m, set)
		sent := spend(t, l, "m", "a", nil, 100)
		m.fail(errors.New("disk full"))
		more := spend(t, l, "m", "a", nil, 1000)
		if more > 20 {
			t.Errorf("%d messages while nothing could be stored", more)
		}
		sent += more
		after := process(m.copy(), set)
		time.Sleep(2 * lane.DeadAfter)
		if n := spend(t, after, "m", "a", nil, 1000); sent+n > 1000 {
			t.Errorf("%d and %d messages", sent, n)
		}
		stop(after)
		m.fail(nil)
		time.Sleep(2 * retryAfter)
		if n := spend(t, l, "m", "a", nil, 1000); sent+n != 1000 {
			t.Errorf("%d and %d messages", sent, n)
		}
		a := l.Account("other", "b", nil)
		s, err := a.Reserve(t.Context(), impatient)
		if err != nil {
			t.Fatal(err)
		}
		m.fail(errors.New("disk full"))
		if err := a.Recipients(t.Context(), &s, 500); !errors.Is(err, ErrNotStored) {
			t.Errorf("500 recipients that are not stored: %v", err)
		}
		m.fail(nil)
		time.Sleep(2 * retryAfter)
		if err := a.Recipients(t.Context(), &s, 500); err != nil {
			t.Error(err)
		}
		a.Commit(s, 500)
		a.Close()
		stop(l)
	})
}

// TestClockSetBack stores counts that are ahead of the clock.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		set := accounts.Limits{Messages: accounts.Rate{Count: 50, Per: day}}
		l := process(m, set)
		spend(t, l, "m", "a", nil, 40)
		stop(l)
		for key, raw := range m.files {
			f, err := record.Decode(raw)
			if err != nil || len(f.Mailboxes) == 0 {
				continue
			}
			for _, list := range f.Mailboxes["m"].Messages {
				for i := range list {
					list[i][0] += 100_000_000_000
				}
			}
			m.files[key], _ = json.Marshal(f)
		}
		l = process(m, set)
		if n := spend(t, l, "m", "a", nil, 100); n != 10 {
			t.Errorf("%d messages after 40 of 50", n)
		}
		stop(l)
		time.Sleep(day + day/window.CoarseSlots)
		l = process(m, set)
		if n := spend(t, l, "m", "a", nil, 100); n != 50 {
			t.Errorf("%d messages a day later", n)
		}
		stop(l)
	})
}

// TestImport takes over what version 1 stored, once, for accounts of one
// mailbox together.
func TestImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		now := time.Now().Unix()
		m.files["smtp/quota/up/7.json"] = fmt.Appendf(nil, `{"version":1,"saved":%d,"accounts":{
			"a":{"messages":{"86400":{"stamps":[[%d,30]],"lead":10}}},"b":{"messages":{"86400":{"stamps":[[%d,20]]}}}}}`, now, now-60, now-3600)
		set := accounts.Limits{Messages: accounts.Rate{Count: 100, Per: day}}
		own := &accounts.Limits{Messages: accounts.Rate{Count: 25, Per: day}}
		l := process(m, set)
		if n := spend(t, l, "m", "b", own, 100); n != 5 {
			t.Errorf("%d messages of b after 20 of its own 25", n)
		}
		stop(l)
		l = process(m, set)
		if n := spend(t, l, "m", "a", nil, 100); n != 100-40-25 {
			t.Errorf("%d messages of a", n)
		}
		stop(l)
		l = process(m, set)
		if n := spend(t, l, "m", "c", nil, 100); n != 0 {
			t.Errorf("%d messages after all", n)
		}
		stop(l)
		time.Sleep(day - 30*time.Minute)
		l = process(m, set)
		if n := spend(t, l, "m", "c", nil, 100); n < 20 || n > 60 {
			t.Errorf("%d messages when b's old 20 are over", n)
		}
		stop(l)
	})
}

// TestOwnLimits holds the narrower limits of two accounts, each for itself, and
// the upstream's for the sum, over a restart.
func TestOwnLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		set := accounts.Limits{Messages: accounts.Rate{Count: 50, Per: day}}
		a := &accounts.Limits{Messages: accounts.Rate{Count: 30, Per: day}}
		b := &accounts.Limits{Recipients: accounts.Rate{Count: 100, Per: day}, Rate: accounts.Rate{Count: 7, Per: time.Minute}}
		l := process(m, set)
		if n := spend(t, l, "m", "a", a, 20); n != 20 {
			t.Error(n)
		}
		if n := spend(t, l, "m", "b", b, 20); n != 7 {
			t.Error(n)
		}
		stop(l)
		l = process(m, set)
		if n := spend(t, l, "m", "a", a, 20); n != 10 {
			t.Error(n)
		}
		if n := spend(t, l, "m", "b", b, 20); n != 0 {
			t.Error(n)
		}
		time.Sleep(61 * time.Second)
		if n := spend(t, l, "m", "b", b, 20); n != 7 {
			t.Error(n)
		}
		if n := spend(t, l, "m", "c", nil, 20); n != 6 {
			t.Errorf("%d messages of c, 6 are left of the mailbox's", n)
		}
		stop(l)
	})
}

// TestIdleGivesBack checks that a mailbox that does not send keeps nothing from
// the others, and that nothing of it stays when its counts are over.
func TestIdleGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		set := accounts.Limits{Messages: accounts.Rate{Count: 1000, Per: day}}
		l := process(m, set)
		spend(t, l, "m", "a", nil, 5)
		time.Sleep(3 * idleAfter)
		other := process(m.copy(), set)
		if n := spend(t, other, "m", "a", nil, 2000); n != 995 {
			t.Error(n)
		}
		stop(other)
		time.Sleep(2*day + time.Hour)
		if list := l.shard("m").list(); len(list) != 0 {
			t.Error("the mailbox is still there")
		}
		stop(l)
	})
}

// TestBusyStart checks that a mailbox that sends at full speed at once does not
// begin with a row of writes, and that a kill costs no more for that.
func TestBusyStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for quota, most := range map[int64]int{10_000_000: 6, 400: 400} {
			m := newMemory()
			set := accounts.Limits{Messages: accounts.Rate{Count: quota, Per: day}}
			l := process(m, set)
			a := l.Account("m", "a", nil)
			sent := int64(0)
			for ; sent < min(quota, 10_000); sent++ {
				s, err := a.Reserve(t.Context(), impatient)
				if err != nil {
					t.Fatalf("message %d: %v", sent, err)
				}
				a.Commit(s, 1)
				time.Sleep(time.Millisecond)
				if n := m.writes(); n > most {
					t.Errorf("%d writes for %d messages of %d a day", n, sent+1, quota)
					break
				}
				if sent == min(quota, 10_000)/2 {
					after := process(m.copy(), set)
					left := int64(spend(t, after, "m", "a", nil, int(min(quota-sent, 200_000))))
					stop(after)
					if want := min(200_000, quota-sent-max(10, quota/100)); left < want {
						t.Errorf("of %d a day %d were sent, and after a kill %d are left, want %d", quota, sent, left, want)
					}
				}
			}
			a.Close()
			stop(l)
		}
	})
}
