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

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/limits/record"
)

var errCrash = errors.New("the machine has crashed")

// forgetful is a file system that loses at a crash what was not synced: the ends of
// files, and names.
type forgetful struct {
	OS

	mu     sync.Mutex
	steps  int // until the crash; it counts down
	synced map[string]int64
	named  map[string]bool
	fail   error         // of the next write
	gate   chan struct{} // Sync waits for it
	syncs  int
}

func newForgetful() *forgetful {
	return &forgetful{steps: -1, synced: make(map[string]int64), named: make(map[string]bool)}
}

// step fails once the machine has crashed.
func (f *forgetful) step() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.steps == 0:
		return errCrash
	case f.steps > 0:
		f.steps--
	}
	return nil
}

// crash leaves of the files what a crash may: torn octets of what was not synced too.
func (f *forgetful) crash(t *testing.T, torn int64) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = -1
	for name, size := range f.synced {
		st, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && !f.named[name] {
			err = os.Remove(name)
		} else if err == nil {
			err = os.Truncate(name, min(size+torn, st.Size()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (f *forgetful) Create(path string) (File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.OS.Create(path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced[path] = 0
	return &forgetfulFile{f, path, file}, nil
}

func (f *forgetful) SyncDir(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.synced {
		if filepath.Dir(name) == path {
			f.named[name] = true
		}
	}
	return f.OS.SyncDir(path)
}

func (f *forgetful) Remove(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Remove(path)
}

type forgetfulFile struct {
	fs   *forgetful
	name string
	File
}

func (f *forgetfulFile) Write(b []byte) (int, error) {
	if err := f.fs.step(); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	fail := f.fs.fail
	f.fs.fail = nil
	f.fs.mu.Unlock()
	if fail != nil {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, fail
	}
	return f.File.Write(b)
}

func (f *forgetfulFile) Sync() error {
	if err := f.fs.step(); err != nil {
		return err
	}
	f.fs.mu.Lock()
	gate := f.fs.gate
	f.fs.syncs++
	f.fs.mu.Unlock()
	if gate != nil {
		<-gate
	}
	st, err := os.Stat(f.name)
	if err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.synced[f.name] = st.Size()
	return nil
}

// world is a storage with the journal of lane 7.
type world struct {
	Place
	fs   *forgetful
	logs *observer.ObservedLogs
}

func newWorld(t *testing.T) *world {
	core, logs := observer.New(zapcore.ErrorLevel)
	fs := newForgetful()
	return &world{fs: fs, logs: logs, Place: Place{
		FS: fs, Storage: &certmagic.FileStorage{Path: t.TempDir()}, Key: "limits/up", Log: zap.New(core),
	}}
}

func (w *world) open(t *testing.T) *Files {
	t.Helper()
	f, err := Open(t.Context(), w.Place, 7)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func reserved(n int64) *record.File {
	return &record.File{Mailboxes: map[string]*record.Record{"m": {Reserved: n}}}
}

// stored returns what is reserved in lane 7's file of a shard.
func (w *world) stored(t *testing.T, shard int) int64 {
	t.Helper()
	f, err := record.Load(t.Context(), w.Storage, record.Key(w.Key, shard, 7), w.Log)
	if err != nil {
		t.Fatal(err)
	}
	if r := f.Mailboxes["m"]; r != nil {
		return r.Reserved
	}
	return 0
}

// TestCrashAtEveryStep crashes the machine at each step of writing lines and files, of
// beginning the journal anew and of the next start: no line that was acknowledged is
// lost, none comes back that a later one replaced, and nothing is damaged.
func TestCrashAtEveryStep(t *testing.T) {
	for _, torn := range []int64{0, 40, 1 << 20} {
		for steps := range 60 {
			w := newWorld(t)
			f := w.open(t)
			w.fs.steps = steps
			var acknowledged, tried [3]int64
			add := func(shard int) {
				tried[shard] = tried[shard] + 1
				if _, err := f.Append(shard, reserved(tried[shard])); err == nil {
					acknowledged[shard] = tried[shard]
				}
			}
			for range 3 {
				add(0)
				add(1)
				add(2)
				_ = f.Anew(func() bool {
					whole := f.Write(t.Context(), 0, reserved(tried[0])) == nil
					whole = whole && f.Write(t.Context(), 1, reserved(tried[1])) == nil
					add(0)
					return whole && f.Write(t.Context(), 2, reserved(tried[2])) == nil
				})
				add(1)
			}
			ended := w.fs.steps != 0
			w.fs.crash(t, torn)
			// The next start is cut off too, then comes one that is not.
			w.fs.steps = steps % 7
			_, _ = Open(t.Context(), w.Place, 7)
			w.fs.crash(t, torn)
			w.open(t)
			for shard := range acknowledged {
				if n := w.stored(t, shard); n < acknowledged[shard] || n > tried[shard] {
					t.Fatalf("%d steps, %d octets torn: shard %d has %d, want %d to %d", steps, torn, shard, n, acknowledged[shard], tried[shard])
				}
			}
			if n := w.logs.Len(); n != 0 {
				t.Fatalf("%d steps, %d octets torn: %v", steps, torn, w.logs.All())
			}
			if names, err := w.FS.List(w.Dir()); err != nil || len(names) != 0 {
				t.Fatalf("%d steps, %d octets torn: %v, %v are left", steps, torn, names, err)
			}
			if steps == 59 && !ended {
				t.Fatal("there are more steps")
			}
		}
	}
}

// TestManyShareOneSync has lines that come while one is being written share the next
// fsync.
func TestManyShareOneSync(t *testing.T) {
	w := newWorld(t)
	f := w.open(t)
	w.fs.gate = make(chan struct{})
	var wg sync.WaitGroup
	for shard := range 50 {
		wg.Go(func() {
			if _, err := f.Append(shard, reserved(1)); err != nil {
				t.Error(err)
			}
		})
	}
	for f.log.Last() < 50 { // all have come, and one writes
		runtime.Gosched()
	}
	close(w.fs.gate)
	wg.Wait()
	w.fs.mu.Lock()
	n := w.fs.syncs
	w.fs.mu.Unlock()
	if n > 3 {
		t.Errorf("%d fsyncs for 50 lines", n)
	}
	w.open(t)
	for shard := range 50 {
		if n := w.stored(t, shard); n != 1 {
			t.Errorf("shard %d has %d", shard, n)
		}
	}
}

// TestAfterAWriteThatFailed goes on in another segment: what follows the torn octets
// would not be read.
func TestAfterAWriteThatFailed(t *testing.T) {
	w := newWorld(t)
	f := w.open(t)
	if _, err := f.Append(1, reserved(1)); err != nil {
		t.Fatal(err)
	}
	w.fs.fail = errors.New("no space left")
	if _, err := f.Append(1, reserved(2)); err == nil {
		t.Fatal("a write failed, and nothing was said")
	}
	if _, err := f.Append(1, reserved(3)); err != nil {
		t.Fatal(err)
	}
	tail := NewTail(w.FS, w.Dir(), 7, w.Log)
	all, err := List(w.FS, w.Dir())
	if err != nil || len(all[7]) != 2 {
		t.Fatalf("segments %v, %v; want two", all, err)
	}
	lines, err := tail.Lines(all[7], 1)
	var got record.File
	if err := errors.Join(err, Apply(&got, lines)); err != nil || got.Mailboxes["m"].Reserved != 3 {
		t.Errorf("%+v, %v; want 3", got.Mailboxes["m"], err)
	}
	w.open(t)
	if n := w.stored(t, 1); n != 3 {
		t.Errorf("%d, want 3", n)
	}
	if w.logs.Len() != 0 {
		t.Error(w.logs.All())
	}
}

// TestTail follows a journal that is written, begun anew, and written again.
func TestTail(t *testing.T) {
	w := newWorld(t)
	f := w.open(t)
	tail := NewTail(w.FS, w.Dir(), 7, w.Log)
	sees := func(shard int, want int64) {
		t.Helper()
		all, err := List(w.FS, w.Dir())
		if err != nil {
			t.Fatal(err)
		}
		lines, err := tail.Lines(all[7], shard)
		if err != nil {
			t.Fatal(err)
		}
		file, err := record.Load(t.Context(), w.Storage, record.Key(w.Key, shard, 7), w.Log)
		if err != nil {
			t.Fatal(err)
		}
		if err := Apply(file, lines); err != nil {
			t.Fatal(err)
		}
		if r := file.Mailboxes["m"]; r == nil && want != 0 || r != nil && r.Reserved != want {
			t.Errorf("shard %d: %+v, want %d", shard, r, want)
		}
	}
	for n := range int64(3) {
		if _, err := f.Append(1, reserved(10+n)); err != nil {
			t.Fatal(err)
		}
		sees(1, 10+n)
		sees(2, 0)
	}
	if err := f.Anew(func() bool {
		sees(1, 12)
		if err := f.Write(t.Context(), 1, reserved(20)); err != nil {
			t.Fatal(err)
		}
		sees(1, 20) // and not what the journal still has
		return true
	}); err != nil {
		t.Fatal(err)
	}
	sees(1, 20)
	if _, err := f.Append(1, reserved(0)); err != nil {
		t.Fatal(err)
	}
	sees(1, 0)
	// A file without a mailbox says that the lines before are over.
	if _, err := f.Append(2, reserved(5)); err != nil {
		t.Fatal(err)
	}
	sees(2, 5)
	if err := f.Write(t.Context(), 2, new(record.File)); err != nil {
		t.Fatal(err)
	}
	sees(2, 0)
	if err := f.Close(true); err != nil {
		t.Fatal(err)
	}
	if keys, err := record.List(t.Context(), w.Storage, record.Shard(w.Key, 2)); err != nil || len(keys) != 0 {
		t.Errorf("%v, %v are left of a shard without counts", keys, err)
	}
	if names, err := w.FS.List(w.Dir()); err != nil || len(names) != 0 {
		t.Errorf("%v, %v are left of a journal whose files have all", names, err)
	}
	if _, err := f.Append(1, reserved(1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestDamaged names a journal that is damaged, counts what is whole of it, and keeps
// it. What is none of ours is left alone.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"a line":      func(s string) string { return strings.Replace(s, `"reserved":1}`, `"reserved":8}`, 1) },
		"first line":  func(s string) string { return "X" + s },
		"foreign":     func(string) string { return "To whom it may concern" },
		"cut off":     nil,
		"only zeroes": func(string) string { return "\x00\x00\x00" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := w.open(t)
			for shard := range 3 {
				if _, err := f.Append(shard, reserved(int64(shard+1))); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(w.Dir(), "7-1.log")
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw[:len(raw)-3])
			if damage != nil {
				text = damage(string(raw))
			}
			stranger := filepath.Join(w.Dir(), "07-1.log")
			for name, text := range map[string]string{path: text, stranger: "mine"} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.open(t)
			got := fmt.Sprint(w.stored(t, 0), w.stored(t, 1), w.stored(t, 2))
			want, says := "1 2 3", 1
			switch name {
			case "a line":
				want = "0 2 3"
			case "foreign":
				want = "0 0 0"
			case "cut off":
				want, says = "1 2 0", 0
			case "only zeroes":
				want, says = "0 0 0", 0
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if n := w.logs.FilterField(zap.String("file", path)).Len(); n != says || w.logs.Len() != says {
				t.Errorf("said %v, want the file %d times", w.logs.All(), says)
			}
			kept, err := os.ReadFile(path + ".damaged")
			if says == 1 && (err != nil || string(kept) != text) || says == 0 && err == nil {
				t.Errorf("kept %q, %v", kept, err)
			}
			if b, err := os.ReadFile(stranger); err != nil || string(b) != "mine" {
				t.Errorf("the other file is %q, %v", b, err)
			}
			w.open(t)
			if w.logs.Len() != says {
				t.Error("it is said again at each start")
			}
		})
	}
}
