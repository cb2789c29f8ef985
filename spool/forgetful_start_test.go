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
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddymail/mailgateway/relay"
)

// dying is a disk whose process dies at the nth operation that writes.
func dying(fsys *memFS, nth int) *memFS {
	var mu sync.Mutex
	n := 0
	fsys.before = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n >= nth {
			return errCrash
		}
		return nil
	}
	return fsys
}

// TestForgetfulStart kills the process at an operation, and the next one at each of its
// own, on a disk that forgets what was not synced: what was answered with 250 is delivered
// or reported, and each death makes one copy of what was under way at most.
func TestForgetfulStart(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	accepted, twice := 0, 0
	for round := range rounds {
		p := newProvider()
		var mu sync.Mutex
		reports := make(map[string]int)
		p.judge = func(text string) *relay.Reply {
			if strings.HasPrefix(text, "refuse") {
				return noSuchUser
			}
			if _, about, ok := strings.Cut(text, "about "); ok {
				mu.Lock()
				defer mu.Unlock()
				reports[about[:10]]++
			}
			return nil
		}
		first := dying(newMemFS(), 20+rand.IntN(80))
		tr := start(t, first, p, nil)
		promised := make(map[string]bool)
		for i := range 8 {
			about := fmt.Sprintf("%04d-%05d", round, i)
			text := "deliver " + about
			if i%3 == 2 {
				text = "refuse\r\nSubject: about " + about + "\r\n\r\ntext"
			}
			if _, err := send(tr, fmt.Sprint("a", i%2), text); err == nil {
				promised[text] = true
				accepted++
			}
		}
		stop(tr)
		left := first.crash()
		deaths := 0
		for nth := 1; ; nth += 1 + rand.IntN(3) {
			var died atomic.Bool
			dying(left, nth)
			count := left.before
			left.before = func(op string) error {
				err := count(op)
				if err != nil {
					died.Store(true)
				}
				return err
			}
			tr = start(t, left, p, nil)
			for !died.Load() && tr.engine.status().Messages > 0 {
				for _, m := range Messages("", "waiting") {
					_ = Release(m.ID)
				}
				if tr.engine.status().Held == tr.engine.status().Messages {
					break
				}
			}
			stop(tr)
			left = left.crash()
			if !died.Load() || deaths > 40 {
				break
			}
			deaths++
		}
		tr = start(t, left, p, nil)
		for _, m := range Messages("", "") {
			if err := Release(m.ID); err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
		}
		await(t, tr)
		stop(tr)
		for text := range promised {
			n := p.count(text)
			if strings.HasPrefix(text, "refuse") {
				_, about, _ := strings.Cut(text, "about ")
				n = reports[about[:10]]
			}
			switch {
			case n == 0:
				t.Fatalf("round %d: %.40q was answered with 250, and is lost", round, text)
			case n > 1:
				twice++
			}
			// Each is the only one under way of its account, and is held after the third death.
			// A report is a message of its own beside the one that it is about.
			most := 2 + poisonous
			if strings.HasPrefix(text, "refuse") {
				most += poisonous
			}
			if n > most {
				t.Fatalf("round %d: %.40q came %d times after %d deaths", round, text, n, deaths)
			}
		}
	}
	t.Logf("%d messages answered with 250, 0 lost, %d delivered or reported more than once", accepted, twice)
}
