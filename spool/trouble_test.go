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
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// troubledFS fails operations, those that only read too.
type troubledFS struct {
	*memFS
	mu   sync.Mutex
	fail func(op string) error
}

func (f *troubledFS) op(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(name)
}

func (f *troubledFS) set(fail func(op string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *troubledFS) Mkdir(path string) error {
	if err := f.op("mkdir"); err != nil {
		return err
	}
	return f.memFS.Mkdir(path)
}

func (f *troubledFS) Create(path string) (disk.File, error) {
	if err := f.op("create"); err != nil {
		return nil, err
	}
	file, err := f.memFS.Create(path)
	return &troubledFile{file, f}, err
}

func (f *troubledFS) Open(path string) (disk.File, error) {
	if err := f.op("open"); err != nil {
		return nil, err
	}
	file, err := f.memFS.Open(path)
	if err != nil {
		return nil, err
	}
	return &troubledFile{file, f}, nil
}

func (f *troubledFS) Rename(from, to string) error {
	if err := f.op("rename"); err != nil {
		return err
	}
	return f.memFS.Rename(from, to)
}

func (f *troubledFS) Remove(path string) error {
	if err := f.op("remove"); err != nil {
		return err
	}
	return f.memFS.Remove(path)
}

func (f *troubledFS) SyncDir(path string) error {
	if err := f.op("syncdir"); err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.EACCES) {
			return &fs.PathError{Op: "open", Path: path, Err: err} // as the system says it
		}
		return err
	}
	return f.memFS.SyncDir(path)
}

type troubledFile struct {
	disk.File
	f *troubledFS
}

func (f *troubledFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.f.op("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *troubledFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.op("write"); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off) // as a disk that fills
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *troubledFile) Sync() error {
	if err := f.f.op("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

// troubles are errors by where the system has them.
var troubles = map[string]struct {
	err error
	ops []string
}{
	"full":        {syscall.ENOSPC, []string{"mkdir", "create", "write", "sync", "syncdir", "rename"}},
	"broken":      {syscall.EIO, []string{"mkdir", "create", "open", "read", "write", "sync", "syncdir", "rename", "remove"}},
	"descriptors": {syscall.EMFILE, []string{"create", "open", "syncdir"}},
	"read only":   {syscall.EROFS, []string{"mkdir", "create", "open", "write", "rename", "remove"}},
	"forbidden":   {syscall.EACCES, []string{"mkdir", "create", "open", "syncdir", "rename", "remove"}},
}

// TestTroubles has each operation of each kind fail, once or for a time: what was answered
// with 250 is delivered or reported, by this process or by the next one; what was not is
// nowhere; no room stays taken; and what was only forbidden needs no restart.
func TestTroubles(t *testing.T) {
	for name, tr := range troubles {
		for _, op := range tr.ops {
			for _, lasting := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/lasting=%t", name, op, lasting), func(t *testing.T) {
					nth := 14
					if testing.Short() {
						nth = 4
					}
					for n := range nth {
						synctest.Test(t, func(t *testing.T) { inTrouble(t, op, tr.err, n, lasting) })
						if t.Failed() {
							t.Fatalf("at operation %d", n)
						}
					}
				})
			}
		}
	}
}

func inTrouble(t *testing.T, op string, trouble error, nth int, lasting bool) {
	const most = 12
	fsys := &troubledFS{memFS: newMemFS()}
	p := newProvider()
	reports := make(map[string]int)
	var mu sync.Mutex
	p.judge = func(text string) *relay.Reply {
		if strings.HasPrefix(text, "Subject: refuse") {
			return noSuchUser
		}
		if _, about, ok := strings.Cut(text, "Subject: refuse "); ok {
			mu.Lock()
			defer mu.Unlock()
			reports[about[:1]]++
		}
		return nil
	}
	on := func(tr *Transport) { tr.MaxMessages = most }
	tr := start(t, fsys, p, on)
	synctest.Wait()
	seen := 0
	fsys.set(func(o string) error {
		if o != op {
			return nil
		}
		if seen++; seen-1 < nth || !lasting && seen-1 > nth {
			return nil
		}
		return trouble
	})
	promised, refused := make(map[string]bool), make(map[string]bool)
	for i := range 6 {
		text := fmt.Sprint("deliver ", i)
		if i%2 == 1 {
			text = fmt.Sprintf("Subject: refuse %d\r\n\r\ntext", i)
		}
		switch _, err := send(tr, "a", text); {
		case err == nil:
			promised[text] = true
		default:
			refused[text] = true
		}
		synctest.Wait()
	}
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	fsys.set(nil)
	if st := tr.engine.status(); st.Error != "" && errors.Is(trouble, fs.ErrPermission) {
		t.Errorf("what was forbidden for a while is a disk that has failed: %+v", st)
	}
	// What can go on by itself does.
	time.Sleep(3 * time.Hour)
	synctest.Wait()
	if st := tr.engine.status(); st.Error == "" && st.Messages > st.Held {
		t.Errorf("it does not go on by itself: %+v, %+v", st, Messages("", ""))
	}
	stop(tr)
	tr = start(t, fsys, p, on)
	for _, m := range Messages("", "") {
		_ = Release(m.ID)
	}
	time.Sleep(3 * time.Hour)
	synctest.Wait()
	if st := tr.engine.status(); st.Messages > 0 || len(st.LeftAlone) > 0 || len(fsys.files("")) > 0 {
		t.Errorf("left: %+v, %+v, %v", st, Messages("", ""), fsys.files(""))
	}
	count := func(text string) int {
		if strings.HasPrefix(text, "deliver") {
			return p.count(text)
		}
		mu.Lock()
		defer mu.Unlock()
		return reports[strings.TrimPrefix(text, "Subject: refuse ")[:1]]
	}
	for text := range promised {
		if n := count(text); n == 0 || n > 2 {
			t.Errorf("%q was answered with 250, and came %d times", text, n)
		}
	}
	for text := range refused {
		if n := count(text); n > 0 {
			t.Errorf("%q was refused, and came %d times", text, n)
		}
	}
	p.set(true)
	p.judge = func(string) *relay.Reply { return relay.ReplyUpstreamDown }
	for i := range most {
		if _, err := send(tr, "b", fmt.Sprint("more ", i)); err != nil {
			t.Errorf("room for %d in place of %d: %v", i, most, err)
			break
		}
	}
	stop(tr)
}
