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
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestReloadReadsNothing holds that a reload which changes no key reads no message: there
// may be very many, of any size.
func TestReloadReadsNothing(t *testing.T) {
	key := strings.Repeat("ab", 32)
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		with := func(tr *Transport) { aged(tr); tr.EncryptionKeys = []string{key} }
		tr := start(t, fsys, p, with)
		for range 10 {
			keepOne(t, tr, "a", "text")
		}
		synctest.Wait()
		opened := func() int {
			fsys.mu.Lock()
			defer fsys.mu.Unlock()
			return fsys.opens
		}
		before := opened()
		for range 3 {
			next := start(t, fsys, p, with)
			_ = tr.Detach()
			tr = next
			synctest.Wait()
		}
		if n := opened() - before; n != 0 {
			t.Errorf("three reloads opened %d files", n)
		}
		stop(tr)
	})
}

// TestKeyRotated holds that a message that was sealed before another key became the first
// is read, tried, changed and delivered as ever, by the next process too, and that one
// whose key is gone is a problem until it is back.
func TestKeyRotated(t *testing.T) {
	old, fresh := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	with := func(keys ...string) func(*Transport) {
		return func(tr *Transport) { aged(tr); tr.EncryptionKeys = keys }
	}
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		tr := start(t, fsys, p, with(old))
		id := keepOne(t, tr, "a", "text")
		reload := func(keys ...string) {
			next := start(t, fsys, p, with(keys...))
			_ = tr.Detach()
			tr = next
			synctest.Wait()
		}
		reload(fresh, old)
		time.Sleep(2 * time.Minute) // an attempt
		synctest.Wait()
		if err := Hold(id); err != nil {
			t.Fatal(err)
		}
		again := func() {
			stop(tr)
			tr = start(t, fsys, p, with(fresh, old))
		}
		again()
		if m, err := Get(id); err != nil || m.Why != "held by an operator" || m.Attempts != 1 {
			t.Errorf("after a restart: %+v, %v", m, err)
		}
		wrongWith(t, tr, "spool_held")
		if err := Release(id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		again()
		if m, err := Get(id); err != nil || m.State != "waiting" || m.Attempts != 2 {
			t.Errorf("after another one: %+v, %v", m, err)
		}
		reload(fresh)
		wrongWith(t, tr, "spool_unread")
		if err := Delete(id); err == nil {
			t.Error("deleted without its key")
		}
		reload(fresh, old)
		wrongWith(t, tr)
		p.set(false)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if p.count("text") != 1 || len(Messages("", "")) != 0 {
			t.Errorf("it came %d times, left %+v", p.count("text"), Messages("", ""))
		}
		stop(tr)
	})
}
