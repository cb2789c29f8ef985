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
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// wrongWith holds that exactly these things are wrong with a spool, each with its cause
// and with what to do.
func wrongWith(t *testing.T, tr *Transport, want ...string) {
	t.Helper()
	got := make(map[string]checkup.Finding)
	for _, f := range tr.engine.status().Problems {
		got[f.Check] = f
		if f.Cause == "" || !strings.Contains(f.Remedy, "`") && f.Check != illness.Directory || !f.Trouble() || f.Subject != "kept" {
			t.Errorf("%+v", f)
		}
	}
	slices.Sort(want)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("wrong is %q, want %q: %+v", names, want, got)
	}
}

// aged makes a spool of whose messages no age is a trouble but the one that is asked for.
func aged(tr *Transport) { tr.AlwaysKeep, tr.WarnAfter = false, caddy.Duration(100*time.Hour) }

func keepOne(t *testing.T, tr *Transport, account, text string) string {
	t.Helper()
	reply, err := send(tr, account, text)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(strings.Join(reply.Lines, " "))
	return words[len(words)-1]
}

// TestProblemsOfTheDirectory holds that each thing that may be wrong with a directory is
// a problem while it is, and none before and after: files of others and damaged ones
// until they are moved away or mended, without a restart or a reload.
func TestProblemsOfTheDirectory(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "spool")
	p := newProvider()
	p.down = true
	on := func(tr *Transport) { aged(tr); tr.Directory = dir }
	tr := start(t, disk.OS{}, p, on)
	ids := []string{keepOne(t, tr, "a", "one"), keepOne(t, tr, "a", "two")}
	wrongWith(t, tr)
	stop(tr)
	path := tr.engine.store.Path(ids[0], store.MessageExt)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte("x"), sound[1:]...)
	foreign := filepath.Join(dir, "README")
	if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.WriteFile(foreign, nil, 0o600), os.Mkdir(filepath.Join(dir, "lost+found"), 0o700),
		os.Symlink("/nowhere", filepath.Join(filepath.Dir(path), "link"))); err != nil {
		t.Fatal(err)
	}
	// again asks as somebody would who waits for the look that comes by itself.
	again := func() *Transport {
		tr.engine.mu.Lock()
		tr.engine.mayLook = time.Time{}
		tr.engine.mu.Unlock()
		return tr
	}
	tr = start(t, disk.OS{}, p, on)
	wrongWith(t, again(), illness.Unread, illness.Foreign)
	if err := errors.Join(os.Remove(foreign), os.Remove(filepath.Join(filepath.Dir(path), "link"))); err != nil {
		t.Fatal(err)
	}
	wrongWith(t, again(), illness.Unread)
	if err := os.WriteFile(path, sound, 0o600); err != nil {
		t.Fatal(err)
	}
	wrongWith(t, again())
	if _, err := Get(ids[0]); err != nil {
		t.Errorf("mended, and not taken up: %v", err)
	}

	// Away, another one in its place, and back.
	away := filepath.Join(base, "away")
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	wrongWith(t, again(), illness.Directory)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wrongWith(t, again(), illness.Directory)
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	wrongWith(t, again())

	// Another process's. Its twin in this process stands for it.
	other := start(t, disk.OS{}, p, func(tr *Transport) { aged(tr); tr.Directory = filepath.Join(base, ".", "spool", "..", "spool2") })
	stop(other)
	if err := errors.Join(os.RemoveAll(filepath.Join(base, "spool2")), os.Symlink(dir, filepath.Join(base, "spool2"))); err != nil {
		t.Fatal(err)
	}
	other = start(t, disk.OS{}, p, func(tr *Transport) { aged(tr); tr.Directory = filepath.Join(base, "spool2") })
	wrongWith(t, other, illness.NotReady)
	p.set(false)
	stop(tr)
	ready(t, other)
	wrongWith(t, other)
	stop(other)
}

// TestProblemsOfADisk holds that a sync that failed, each bound, and a bound that was
// lowered below what is there are problems.
func TestProblemsOfADisk(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, aged)
	id := keepOne(t, tr, "a", "one")
	keepOne(t, tr, "a", "two")
	for name, bound := range map[string]func(*Transport){
		"max_messages": func(tr *Transport) { aged(tr); tr.MaxMessages = 1 },
		"max_size":     func(tr *Transport) { aged(tr); tr.MaxSize = 1 },
		"min_free":     func(tr *Transport) { aged(tr); tr.MinFree = 99.5 },
	} {
		fsys.mu.Lock()
		fsys.free = 99
		fsys.mu.Unlock()
		next := start(t, fsys, p, bound)
		_ = tr.Detach()
		tr = next
		wrongWith(t, tr, illness.Full)
		if said := tr.engine.status().Problems[0].Said; !strings.Contains(said, name) {
			t.Errorf("%s: said %q", name, said)
		}
		if n := tr.engine.status().Messages; n != 2 {
			t.Errorf("%s: %d messages are there, want those that were", name, n)
		}
		next = start(t, fsys, p, aged)
		_ = tr.Detach()
		tr = next
		wrongWith(t, tr)
	}
	fsys.mu.Lock()
	fsys.before = func(op string) error {
		if op == "sync" {
			return errors.New("input/output error")
		}
		return nil
	}
	fsys.mu.Unlock()
	if err := Release(id); err == nil {
		t.Error("released on a disk that failed")
	}
	wrongWith(t, tr, illness.Disk)
	stop(tr)
	fsys.mu.Lock()
	fsys.before = nil
	fsys.mu.Unlock()
	tr = start(t, fsys, p, aged)
	defer stop(tr)
	wrongWith(t, tr)
}

// TestProblemsOfMessages holds the same of mail that does not go by itself: held, old,
// in a spool that is drained for long, given up, and such that nobody was told of.
func TestProblemsOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		reports := "it@example.com"
		tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
		tr.UseAccounts(func(name string) (*accounts.Account, bool) {
			return &accounts.Account{Record: accounts.Record{Name: name, Reports: reports}}, true
		})
		defer func() { stop(tr) }()
		id := keepOne(t, tr, "a", "one")
		wrongWith(t, tr)
		if err := Hold(id); err != nil {
			t.Fatal(err)
		}
		wrongWith(t, tr, illness.Held)
		if said := tr.engine.status().Problems[0].Said; !strings.Contains(said, illness.HeldByOperator) {
			t.Errorf("held by an operator: %q", said)
		}
		time.Sleep(3 * time.Hour)
		wrongWith(t, tr, illness.Held) // and not that it waits
		if err := Release(id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wrongWith(t, tr, illness.Old)
		if f := tr.engine.status().Problems[0]; !strings.Contains(f.Said, id) || !strings.Contains(f.Cause, "longer than 1h (") {
			t.Errorf("%+v", f)
		}
		if err := Drain("", false); err != nil {
			t.Fatal(err)
		}
		wrongWith(t, tr, illness.Old)
		time.Sleep(time.Hour)
		wrongWith(t, tr, illness.Old, illness.Drained)
		EndDrain()
		p.set(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		wrongWith(t, tr)

		// Given up: the report leaves when the provider is back.
		p.set(true)
		keepOne(t, tr, "a", "two")
		time.Sleep(24*time.Hour + time.Second)
		synctest.Wait()
		wrongWith(t, tr, illness.GivenUp)
		if f := tr.engine.status().Problems[0]; strings.Contains(f.Remedy, "--reports") {
			t.Errorf("an address is configured: %+v", f)
		}
		p.set(false)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		wrongWith(t, tr)

		// The report is refused: nobody was told, until `reports` is another.
		p.setJudge(func(string) *relay.Reply { return noSuchUser })
		p.set(true)
		keepOne(t, tr, "a", "three")
		p.set(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wrongWith(t, tr, illness.Untold)
		if f := tr.engine.status().Problems[0]; f.Account != "a" || !strings.Contains(f.Said, "it@example.com") || !strings.Contains(f.Said, "550") {
			t.Errorf("%+v", f)
		}
		time.Sleep(3 * time.Hour)
		wrongWith(t, tr, illness.Untold)
		reports = "boss@example.com"
		wrongWith(t, tr)

		// Given up with the null sender and without an address: nobody may be told.
		reports = ""
		p.setJudge(nil)
		p.set(true)
		keepFrom(t, tr, "a", "")
		time.Sleep(24*time.Hour + time.Second)
		synctest.Wait()
		wrongWith(t, tr, illness.GivenUp, illness.Untold)
		for _, f := range tr.engine.status().Problems {
			if !strings.Contains(f.Remedy, "smtp account set a --reports") {
				t.Errorf("%+v", f)
			}
		}
		time.Sleep(25 * time.Hour)
		wrongWith(t, tr)

		// A report that the disk has no room for.
		p.set(true)
		keepOne(t, tr, "a", "four")
		p.set(false)
		p.setJudge(func(text string) *relay.Reply {
			if text == "four" {
				return noSuchUser
			}
			return nil
		})
		fsys.mu.Lock()
		fsys.before = func(op string) error {
			if op == "create" {
				return errNoSpace
			}
			return nil
		}
		fsys.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wrongWith(t, tr, illness.Untold)
		fsys.mu.Lock()
		fsys.before = nil
		fsys.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		wrongWith(t, tr)
		if left := Messages("", ""); len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

// keepFrom keeps a message of a sender.
func keepFrom(t *testing.T, tr *Transport, account, from string) {
	t.Helper()
	tx, err := tr.Begin(t.Context(), &accounts.Account{Record: accounts.Record{Name: account}}, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	if err := tx.Rcpt(t.Context(), "to@example.org", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Data(t.Context(), strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
}
