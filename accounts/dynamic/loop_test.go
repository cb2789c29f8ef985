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

package dynamic

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"

	"go.uber.org/zap"
)

// What another process changes is seen without a call for it, and soon where a
// client asks for the new name.
func TestDynamicFollowsOtherProcesses(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute) // certmagic's locks each leave a goroutine for a while
		one, _ := newProcess(t, dir)
		two, st := newProcess(t, dir)
		d1, d2 := accounts.NewDirectory([]accounts.Source{one}, nil), accounts.NewDirectory([]accounts.Source{two}, nil)
		for _, d := range []*accounts.Directory{d1, d2} {
			if err := d.Start(); err != nil {
				t.Fatal(err)
			}
			defer d.Stop()
		}
		time.Sleep(time.Minute)
		put(t, d1, accounts.Record{Name: "a@example.com"})
		time.Sleep(journalPoll + time.Second)
		if _, ok := d2.Lookup("a@example.com"); !ok {
			t.Error("a new account is not seen")
		}
		put(t, d1, accounts.Record{Name: "b@example.com"})
		if _, err := d2.Authenticate(t.Context(), "b@example.com", "x"); !errors.Is(err, accounts.ErrBadCredentials) {
			t.Error(err)
		}
		time.Sleep(pokeInterval + time.Second)
		if _, ok := d2.Lookup("b@example.com"); !ok {
			t.Error("a new account is not seen although somebody asked for it")
		}
		if err := d1.Delete(t.Context(), "a@example.com", accounts.Condition{}); err != nil {
			t.Error(err)
		}
		time.Sleep(journalPoll + time.Second)
		if _, ok := d2.Lookup("a@example.com"); ok {
			t.Error("a deleted account is still there")
		}
		// Nothing to do costs one read a poll, however many names are asked for.
		before := st.loads.Load()
		for i := range 600 {
			_, _ = d2.Authenticate(t.Context(), fmt.Sprint("random", i), "x")
			time.Sleep(100 * time.Millisecond)
		}
		if n := st.loads.Load() - before; n > 60/2+10 {
			t.Errorf("%d reads in a minute", n)
		}
		// What the journal does not tell of is seen in the end.
		if err := st.Delete(t.Context(), storageKey("b@example.com")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rescanInterval + time.Minute)
		if _, ok := d2.Lookup("b@example.com"); ok {
			t.Error("a record that vanished is still there")
		}
	})
}

func TestDynamicStorageComesBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute) // certmagic's locks each leave a goroutine for a while
		writer, _ := newProcess(t, dir)
		put(t, accounts.NewDirectory([]accounts.Source{writer}, nil), accounts.Record{Name: "a@example.com"})
		src, st := newProcess(t, dir)
		st.fail.Store(true)
		d := accounts.NewDirectory([]accounts.Source{src}, nil)
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		defer d.Stop()
		time.Sleep(time.Minute)
		if _, err := d.Get(t.Context(), "a@example.com"); !errors.Is(err, accounts.ErrUnavailable) {
			t.Errorf("storage down: %v", err)
		}
		if _, err := d.Patch(t.Context(), "a@example.com", []byte(`{"paused":true}`), accounts.Condition{}); !errors.Is(err, accounts.ErrUnavailable) {
			t.Errorf("storage down: %v", err)
		}
		if n := st.loads.Load(); n > 20 {
			t.Errorf("%d reads of a storage that is down", n)
		}
		st.fail.Store(false)
		time.Sleep(retryMax + time.Second)
		if info := d.Sources(); info[0].Accounts != 1 || info[0].Loading {
			t.Errorf("storage back: %+v", info)
		}
		// It is down again: what is loaded goes on.
		st.fail.Store(true)
		time.Sleep(time.Minute)
		if _, ok := d.Lookup("a@example.com"); !ok {
			t.Error("account lost")
		}
		if _, ok := d.Lookup("b@example.com"); ok {
			t.Error("account from nowhere")
		}
	})
}

// Changes from many sides at once lose nothing.
func TestDynamicConcurrentPatches(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute) // certmagic's locks each leave a goroutine for a while
		var ds []*accounts.Directory
		for range 3 {
			src, _ := newProcess(t, dir, testKey(1))
			ds = append(ds, accounts.NewDirectory([]accounts.Source{src}, nil))
		}
		put(t, ds[0], accounts.Record{Name: "a@example.com"})
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				patch := fmt.Sprintf(`{"labels":{"l%d":"x"}}`, i)
				if _, err := ds[i%3].Patch(t.Context(), "A@example.com", []byte(patch), accounts.Condition{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		src, _ := newProcess(t, dir, testKey(1))
		a, err := accounts.NewDirectory([]accounts.Source{src}, nil).Get(t.Context(), "a@example.com")
		if err != nil || len(a.Labels) != 30 {
			t.Errorf("%d labels of 30, %v", len(a.Labels), err)
		}
	})
}

func TestModule(t *testing.T) {
	info, err := caddy.GetModule("smtp.accounts.dynamic")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := info.New().(accounts.Source); !ok {
		t.Error("it is no source")
	}
	for _, keys := range [][]string{{"short"}, {"{env.NOT_SET_AT_ALL}"}} {
		err := (&Source{EncryptionKeys: keys}).provision(zap.NewNop(), nil)
		if err == nil || !strings.Contains(err.Error(), "encryption_keys[0]") {
			t.Errorf("%v: %v", keys, err)
		}
	}
}
