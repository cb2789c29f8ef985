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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// away takes a spool's directory from under a process, which forgets nothing of what
// lies there and keeps nothing where it was. It goes on when the directory is back.
func away(t *testing.T, dir string, take, giveBack func() error) {
	p := newProvider()
	p.down = true
	tr := start(t, disk.OS{}, p, func(tr *Transport) { tr.AlwaysKeep, tr.Directory = false, dir })
	defer stop(tr)
	for i := range 2 {
		if _, err := send(tr, fmt.Sprint("a", i), fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	list := Messages("", "")
	if err := take(); err != nil {
		t.Fatal(err)
	}
	copies, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	there := len(copies)
	if _, err := send(tr, "a0", "while it is away"); !errors.Is(err, relay.ReplyUpstreamDown) {
		t.Errorf("while the directory is away the client heard %v, want the provider's own word", err)
	}
	if err := Release(list[0].ID); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("releasing while the directory is away: %v", err)
	}
	makeDue(tr.engine, list[1].ID)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		m, err := Get(list[1].ID)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("forgotten, or not tried: %+v, %v", m, err)
		}
		if strings.Contains(m.Reply, "moved") {
			break
		}
	}
	if st := tr.engine.status(); st.Messages != 2 || !strings.Contains(st.Error, "moved") {
		t.Errorf("while the directory is away: %+v", st)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(made) != there {
		t.Errorf("where the directory was, there were %d files, and are: %v", there, made)
	}
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	if _, err := send(tr, "a0", "again"); err != nil {
		t.Errorf("with the directory back: %v", err)
	}
	p.set(false)
	for _, m := range Messages("", "") {
		if err := Release(m.ID); err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrBusy) {
			t.Errorf("with the directory back: %v", err)
		}
	}
	await(t, tr)
	for _, text := range []string{"message 0", "message 1", "again"} {
		if p.count(text) != 1 {
			t.Errorf("%s arrived %d times", text, p.count(text))
		}
	}
}

// TestDirectoryMoved moves the directory and back.
func TestDirectoryMoved(t *testing.T) {
	base := t.TempDir()
	dir, moved := filepath.Join(base, "d"), filepath.Join(base, "elsewhere")
	away(t, dir, func() error { return os.Rename(dir, moved) }, func() error { return os.Rename(moved, dir) })
}

// TestDirectoryReplaced has another process take a copy of the directory in its place:
// what is in it is that one's to send.
func TestDirectoryReplaced(t *testing.T) {
	base := t.TempDir()
	dir, moved := filepath.Join(base, "d"), filepath.Join(base, "elsewhere")
	var lock disk.Lock
	defer func() { _ = lock.Close() }()
	away(t, dir, func() error {
		if err := errors.Join(os.Rename(dir, moved), os.CopyFS(dir, os.DirFS(moved))); err != nil {
			return err
		}
		var err error
		lock, err = disk.OS{}.Lock(dir)
		return err
	}, func() error {
		return errors.Join(os.RemoveAll(dir), os.Rename(moved, dir))
	})
}

// blindFS is a memFS that cannot open some files for now.
type blindFS struct {
	*memFS
	mu     sync.Mutex
	hidden []string
}

func (b *blindFS) Open(path string) (disk.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.hidden, path) {
		return nil, syscall.EMFILE
	}
	return b.memFS.Open(path)
}

// TestReadLater holds that messages that could not be read at the start for want of
// descriptors are taken up when they can be, and in their order.
func TestReadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := &blindFS{memFS: newMemFS()}, newProvider()
		p.down = true
		on := func(tr *Transport) { tr.AlwaysKeep = false }
		tr := start(t, fsys, p, on)
		var texts []string
		for i := range 4 {
			texts = append(texts, fmt.Sprint("message ", i))
			if _, err := send(tr, "a", texts[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i, m := range Messages("", "") {
			if i != 2 {
				fsys.hidden = append(fsys.hidden, tr.engine.store.Path(m.ID, store.MessageExt))
			}
		}
		gone := fsys.hidden[0]
		stop(tr)
		tr = start(t, fsys, p, on)
		defer stop(tr)
		synctest.Wait()
		if st := tr.engine.status(); st.Messages != 1 || len(st.LeftAlone) != 3 || st.LeftAlone[0].Message == "" {
			t.Fatalf("without descriptors: %+v", st)
		}
		time.Sleep(notePause + time.Second)
		synctest.Wait()
		if st := tr.engine.status(); len(st.LeftAlone) != 3 {
			t.Errorf("still without descriptors: %+v", st)
		}
		if err := fsys.Remove(gone); err != nil { // by hand
			t.Fatal(err)
		}
		fsys.mu.Lock()
		fsys.hidden = nil
		fsys.mu.Unlock()
		time.Sleep(notePause)
		synctest.Wait()
		if st := tr.engine.status(); st.Messages != 3 || len(st.LeftAlone) != 0 {
			t.Errorf("with descriptors: %+v", st)
		}
		p.set(false)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if !slices.Equal(p.order, texts[1:]) {
			t.Errorf("sent in the order %q", p.order)
		}
	})
}
