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

package history

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// memory is a storage in memory that can be made to fail.
type memory struct {
	certmagic.Storage
	lock sync.Mutex

	mu     sync.Mutex
	value  []byte
	broken error
}

func (m *memory) Lock(context.Context, string) error   { m.lock.Lock(); return nil }
func (m *memory) Unlock(context.Context, string) error { m.lock.Unlock(); return nil }

func (m *memory) Load(context.Context, string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	if m.value == nil {
		return nil, fs.ErrNotExist
	}
	return m.value, nil
}

func (m *memory) Store(_ context.Context, key string, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	if key != Key {
		return errors.New("another key")
	}
	m.value = b
	return nil
}

func (m *memory) set(value string, broken error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken = broken; value != "" {
		m.value = []byte(value)
	}
}

// sum adds hours up, and returns how many of them have something.
func sum(t *testing.T, h *History, m *memory) (total Counts, busy int) {
	t.Helper()
	list, err := h.Last(t.Context(), m, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != Hours || !list[Hours-1].Begin.Equal(time.Now().UTC().Truncate(time.Hour)) || list[1].Begin.Sub(list[0].Begin) != time.Hour {
		t.Fatalf("%d hours, from %s to %s", len(list), list[0].Begin, list[len(list)-1].Begin)
	}
	for _, l := range list {
		total.Add(l.Counts)
		if l.Total() > 0 {
			busy++
		}
	}
	return total, busy
}

func TestHistorySurvivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		for life := range 3 { // of a process
			h := new(History)
			stop := h.Keep(m, zap.NewNop())
			for _, code := range []int{250, 250, 451, 550, 0} {
				h.Count(time.Now(), code)
			}
			if got, _ := sum(t, h, m); got.Total() != uint64(6*life+5) {
				t.Errorf("before anything is written: %+v", got)
			}
			time.Sleep(every + time.Second)
			h.Count(time.Now(), 250)
			stop()
			stop()
			time.Sleep(3 * time.Hour)
		}
		got, busy := sum(t, new(History), m)
		if want := (Counts{Accepted: 9, Deferred: 3, Refused: 3, Aborted: 3}); got != want || busy != 3 {
			t.Errorf("%+v in %d hours, want %+v in 3", got, busy, want)
		}
		// A week later nothing is left, and the value has not grown.
		time.Sleep(8 * 24 * time.Hour)
		if got, _ := sum(t, new(History), m); got.Total() != 0 {
			t.Errorf("after eight days: %+v", got)
		}
	})
}

// TestProcessesShareAHistory has two processes write at the same times.
func TestProcessesShareAHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		a, b := new(History), new(History)
		stopA, stopB := a.Keep(m, zap.NewNop()), b.Keep(m, zap.NewNop())
		for range 10 {
			a.Count(time.Now(), 250)
			b.Count(time.Now(), 451)
			time.Sleep(every)
			synctest.Wait()
		}
		stopA()
		stopB()
		if got, _ := sum(t, a, m); got != (Counts{Accepted: 10, Deferred: 10}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestStorageThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		m, h := new(memory), new(History)
		stop := h.Keep(m, zap.New(core))
		m.set("", errors.New("disk full"))
		for range 5 {
			h.Count(time.Now(), 250)
			time.Sleep(every)
			synctest.Wait()
		}
		if n := logs.FilterMessageSnippet("cannot be written").Len(); n != 1 {
			t.Errorf("%d warnings of one outage", n)
		}
		list, err := h.Last(t.Context(), m, time.Now())
		if err == nil || list[Hours-1].Accepted != 5 {
			t.Errorf("without a storage: %v, %+v", err, list[Hours-1])
		}
		m.set("", nil)
		time.Sleep(every)
		synctest.Wait()
		if logs.FilterMessageSnippet("written again").Len() != 1 {
			t.Error("its end is not told of")
		}
		stop()
		if got, _ := sum(t, new(History), m); got.Accepted != 5 {
			t.Errorf("after the outage %+v", got)
		}
	})
}

func TestDamagedValue(t *testing.T) {
	for _, value := range []string{"{", `{"version":2,"hours":[]}`, `[]`} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zapcore.WarnLevel)
			m, h := new(memory), new(History)
			m.set(value, nil)
			if _, err := h.Last(t.Context(), m, time.Now()); err == nil {
				t.Errorf("%s is read", value)
			}
			stop := h.Keep(m, zap.New(core))
			h.Count(time.Now(), 250)
			stop()
			if logs.Len() != 1 {
				t.Errorf("%s: %d warnings", value, logs.Len())
			}
			if got, _ := sum(t, h, m); got.Accepted != 1 {
				t.Errorf("%s: %+v", value, got)
			}
		})
	}
}

// TestClockThatWasWrong counts in a year to come, then in this one.
func TestClockThatWasWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := new(ring)
		for i := range Hours {
			ahead.at(hourOf(time.Now().AddDate(1, 0, 0)) + int64(i)).count(250)
		}
		b, err := ahead.encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 16<<10 {
			t.Errorf("a full ring takes %d octets", len(b))
		}
		m, h := new(memory), new(History)
		m.set(string(b), nil)
		stop := h.Keep(m, zap.NewNop())
		h.Count(time.Now(), 250)
		stop()
		if got, _ := sum(t, h, m); got.Accepted != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"version":1,"hours":[{"at":-1,"accepted":1},{"at":168,"deferred":3}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := decode([]byte(s))
		if err != nil {
			return
		}
		now := time.Unix(1e9, 0)
		all := new(ring)
		all.merge(r, now)
		b, err := all.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		second := new(ring)
		second.merge(again, now)
		if c, err := second.encode(); err != nil || !strings.EqualFold(string(b), string(c)) {
			t.Errorf("%s became %s, %v", b, c, err)
		}
	})
}
