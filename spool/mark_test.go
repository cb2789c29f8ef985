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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// TestNotMounted holds that a start without the directory's mount keeps nothing where the
// mount is missing, and says so; that what lies in it is sent once it is there; and that
// an operator can begin with another directory.
func TestNotMounted(t *testing.T) {
	for name, make := range map[string]bool{"missing": false, "empty": true} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir, disks := filepath.Join(base, "mnt", "spool"), filepath.Join(base, "elsewhere")
			p := newProvider()
			p.down = true
			on := func(tr *Transport) { tr.AlwaysKeep, tr.Directory, tr.notes = false, dir, filepath.Join(base, "notes") }
			tr := start(t, disk.OS{}, p, on)
			if _, err := send(tr, "a", "kept"); err != nil {
				t.Fatal(err)
			}
			id := Messages("", "")[0].ID
			stop(tr)
			if err := os.Rename(filepath.Dir(dir), disks); err != nil {
				t.Fatal(err)
			}
			if make {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			tr = start(t, disk.OS{}, p, on)
			if _, err := send(tr, "a", "too early"); !errors.Is(err, relay.ReplyUpstreamDown) {
				t.Errorf("without its mount: %v", err)
			}
			if st := tr.engine.status(); st.Ready || st.Error == "" {
				t.Errorf("without its mount: %+v", st)
			}
			if made, _ := filepath.Glob(filepath.Join(dir, "*")); len(made) > 0 {
				t.Errorf("made where the mount is missing: %v", made)
			}
			if err := errors.Join(os.RemoveAll(filepath.Dir(dir)), os.Rename(disks, filepath.Dir(dir))); err != nil {
				t.Fatal(err)
			}
			ready(t, tr)
			p.set(false)
			if err := Release(id); err != nil {
				t.Fatal(err)
			}
			await(t, tr)
			stop(tr)
			if p.count("kept") != 1 {
				t.Error("not sent when it was mounted")
			}

			// Another one, by an operator's word.
			if err := os.Rename(dir, disks); err != nil {
				t.Fatal(err)
			}
			tr = start(t, disk.OS{}, p, on)
			if tr.engine.status().Ready {
				t.Error("another directory is taken for the one before")
			}
			if err := os.Remove(store.Note(filepath.Join(base, "notes"), dir)); err != nil {
				t.Fatal(err)
			}
			ready(t, tr)
			stop(tr)
			tr = start(t, disk.OS{}, p, on)
			defer stop(tr)
			if st := tr.engine.status(); !st.Ready || len(st.LeftAlone) > 0 {
				t.Errorf("the new one at the next start: %+v", st)
			}
		})
	}
}

func ready(t *testing.T, tr *Transport) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !tr.engine.status().Ready; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %+v", tr.engine.status())
		}
	}
}

// TestNotMountedAccounts holds that the spool of accounts, which makes no directory before
// it keeps something, does not forget that it had one.
func TestNotMountedAccounts(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "spool")
	p := newProvider()
	p.down = true
	on := func(tr *Transport) {
		tr.AlwaysKeep, tr.Upstream, tr.siblings = false, "", map[string]relay.Transport{"": p}
		tr.Directory, tr.notes = dir, filepath.Join(base, "notes")
	}
	tr := start(t, disk.OS{}, p, on)
	if tr.engine != nil {
		t.Fatal("it has begun with nothing to keep")
	}
	if _, err := send(tr, "a", "kept"); err != nil {
		t.Fatal(err)
	}
	stop(tr)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	tr = start(t, disk.OS{}, p, on)
	if tr.engine == nil {
		t.Fatal("the mail that it has is forgotten")
	}
	if st := tr.engine.status(); st.Ready || st.Error == "" {
		t.Errorf("without its mount: %+v", st)
	}
	stop(tr)
}

// TestMarkIsDurable holds that a loss of power leaves no note of a directory without its
// mark.
func TestMarkIsDurable(t *testing.T) {
	notes := t.TempDir()
	fsys, p := newMemFS(), newProvider()
	on := func(tr *Transport) { tr.notes = notes }
	stop(start(t, fsys, p, on))
	for range 2 {
		fsys = fsys.crash()
		tr := start(t, fsys, p, on)
		if st := tr.engine.status(); !st.Ready {
			t.Errorf("after a loss of power: %+v", st)
		}
		stop(tr)
	}
}
