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

//go:build unix

package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// inTime bounds what must not hang.
func inTime(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it hangs")
	}
}

// TestForeignFiles puts what is no message under the names of messages, of what is on its
// way to one, and of shards: all of it is named and left alone, nothing is written
// through it, nothing waits for it, and the mail beside it is sent.
func TestForeignFiles(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := newProvider()
	p.down = true
	on := func(tr *Transport) { tr.AlwaysKeep, tr.Directory = false, dir }
	tr := start(t, disk.OS{}, p, on)
	if _, err := send(tr, "a", "mail"); err != nil {
		t.Fatal(err)
	}
	if _, err := send(tr, "a", "linked"); err != nil {
		t.Fatal(err)
	}
	list := Messages("", "")
	good, linked := list[0].ID, list[1].ID
	own := tr.engine.store.Path(good, store.MessageExt)
	stop(tr)

	// A sound message that only a link in the directory leads to.
	moved := filepath.Join(outside, linked+store.MessageExt)
	name := tr.engine.store.Path(linked, store.MessageExt)
	if err := os.Rename(name, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(moved, name); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(moved)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{name}
	put := func(shard, ext string, mk func(path string) error) {
		t.Helper()
		path := filepath.Join(dir, shard, store.NewID(time.Now())[:22]+shard+ext)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := mk(path); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	makes := []func(path string) error{
		func(path string) error { return os.Mkdir(path, 0o700) },
		func(path string) error { return os.Symlink(victim, path) },
		func(path string) error { return os.Symlink(filepath.Join(outside, "nowhere"), path) },
		func(path string) error { return os.Symlink("/dev/zero", path) },
		func(path string) error { return syscall.Mkfifo(path, 0o600) },
	}
	for _, ext := range []string{store.MessageExt, store.UnsureExt} {
		for _, mk := range makes {
			put("0a", ext, mk)
		}
	}
	put("0a", store.MessageExt, func(path string) error { return os.Link(victim, path) })
	put("0a", store.MessageExt, func(path string) error { return os.Link(own, path) }) // another message's name
	if os.Geteuid() == 0 {
		put("0a", store.MessageExt, func(path string) error {
			b, err := os.ReadFile(own)
			if err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
			if err == nil {
				err = os.Chown(path, 12345, 12345)
			}
			return err
		})
	}
	for i, mk := range makes[1:] {
		path := filepath.Join(dir, fmt.Sprintf("f%d", i))
		if err := mk(path); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	away := filepath.Join(dir, "fe")
	if err := os.Symlink(outside, away); err != nil {
		t.Fatal(err)
	}
	want = append(want, away)

	p.set(false)
	inTime(t, func() { tr = start(t, disk.OS{}, p, on) })
	defer stop(tr)
	var odd []string
	for _, o := range tr.engine.status().LeftAlone {
		odd = append(odd, filepath.Join(dir, o.Path))
		t.Log(o.Path, o.Why)
	}
	slices.Sort(odd)
	slices.Sort(want)
	if !slices.Equal(odd, want) {
		t.Errorf("left alone:\n%s\nwant:\n%s", strings.Join(odd, "\n"), strings.Join(want, "\n"))
	}
	for _, path := range want {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	inTime(t, func() {
		if err := Release(good); err != nil {
			t.Error(err)
		}
		await(t, tr)
		tr.engine.lookAgain()
		p.set(true)
		// New mail finds its place beside all that.
		for i := range 300 {
			if _, err := send(tr, "a", fmt.Sprint("new ", i)); err != nil {
				t.Error(err)
			}
		}
	})
	if p.count("mail") != 1 || p.count("linked") != 0 {
		t.Errorf("the mail came %d times, what is elsewhere %d times", p.count("mail"), p.count("linked"))
	}
	if after, err := os.ReadFile(moved); err != nil || string(after) != string(before) {
		t.Errorf("what a link leads to was written: %v", err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "x" {
		t.Errorf("the file elsewhere: %q, %v", b, err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 2 {
		t.Errorf("files elsewhere: %v, %v", left, err)
	}
}

// TestForeignLock holds that what is no file in place of the lock, or of the directory's
// mark, is named, and that nothing waits for it or is made where it leads.
func TestForeignLock(t *testing.T) {
	for _, name := range []string{disk.LockName, store.MarkName} {
		for kind, mk := range map[string]func(path, outside string) error{
			"pipe":      func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
			"link":      func(path, outside string) error { return os.Symlink(outside, path) },
			"directory": func(path, _ string) error { return os.Mkdir(path, 0o700) },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "file")
				path := filepath.Join(dir, name)
				if err := mk(path, outside); err != nil {
					t.Fatal(err)
				}
				p := newProvider()
				var tr *Transport
				inTime(t, func() {
					tr = start(t, disk.OS{}, p, func(tr *Transport) { tr.AlwaysKeep, tr.Directory, tr.notes = false, dir, t.TempDir() })
				})
				defer func() { inTime(t, func() { stop(tr) }) }()
				if _, err := os.Lstat(outside); err == nil {
					t.Error("a file was made where the link leads")
				}
				st := tr.engine.status()
				if !strings.Contains(fmt.Sprint(st.Error, st.LeftAlone), name) {
					t.Errorf("it is not named: %+v", st)
				}
				if _, err := send(tr, "a", "text"); err != nil || p.count("text") != 1 {
					t.Errorf("what the provider takes at once: %v", err)
				}
				// It goes on when that is gone.
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				p.set(true)
				inTime(t, func() {
					for {
						if _, err := send(tr, "a", "kept"); err == nil {
							return
						}
						time.Sleep(10 * time.Millisecond)
					}
				})
			})
		}
	}
}
