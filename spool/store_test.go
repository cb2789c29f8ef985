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
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// TestForeignShard holds that something of others where a shard would be is named
// and left alone, and keeps the spool neither from starting nor from keeping.
func TestForeignShard(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "ab")
	if err := os.WriteFile(foreign, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProvider()
	p.down = true
	tr := start(t, disk.OS{}, p, func(tr *Transport) { tr.AlwaysKeep, tr.Directory = false, dir })
	defer stop(tr)
	st := tr.engine.status()
	if !st.Ready || len(st.LeftAlone) != 1 || st.LeftAlone[0].Path != "ab" {
		t.Fatalf("status %+v", st)
	}
	tr.engine.lookAgain()
	if odd := tr.engine.status().LeftAlone; len(odd) != 1 {
		t.Errorf("left alone after a reload: %+v", odd)
	}
	// One that was there at the start, and one that came later.
	if err := os.WriteFile(filepath.Join(dir, "cd"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, shard := range []string{"ab", "cd", "cd"} {
		env := &record.Envelope{ID: store.NewID(time.Now())[:22] + shard, Account: "a", Created: time.Now(), Rcpts: []relay.Recipient{{To: "to@example.org"}}}
		k := store.NewKeeper(tr.engine.store, env, strings.NewReader("text"))
		if err := errors.Join(k.Rest(), k.Commit()); err != nil {
			t.Errorf("a message of shard %s: %v", shard, err)
			continue
		}
		if _, err := tr.engine.store.Read(env.ID); err != nil {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(foreign); err != nil || string(b) != "x" {
		t.Errorf("the foreign file: %q, %v", b, err)
	}
}

// TestShardGone holds that a shard that an operator removed is made again.
func TestShardGone(t *testing.T) {
	dir := t.TempDir()
	p := newProvider()
	p.down = true
	tr := start(t, disk.OS{}, p, func(tr *Transport) { tr.AlwaysKeep, tr.Directory = false, dir })
	defer stop(tr)
	reply, err := send(tr, "a", "text")
	if err != nil {
		t.Fatal(err)
	}
	id := idOf(reply)
	if err := os.RemoveAll(filepath.Join(dir, store.ShardOf(id))); err != nil {
		t.Fatal(err)
	}
	env := &record.Envelope{ID: store.NewID(time.Now())[:22] + store.ShardOf(id), Account: "a", Created: time.Now(), Rcpts: []relay.Recipient{{To: "to@example.org"}}}
	k := store.NewKeeper(tr.engine.store, env, strings.NewReader("text"))
	if err := errors.Join(k.Rest(), k.Commit()); err != nil {
		t.Errorf("where the shard was: %v", err)
	}
	// What was in it is gone for whoever asks, and is forgotten.
	if err := Hold(id); !errors.Is(err, ErrNotFound) {
		t.Errorf("holding what is gone: %v", err)
	}
	if n := len(Messages("", "")); n != 0 {
		t.Errorf("%d messages are listed", n)
	}
}

// thief is a provider that takes a message while its file is removed by hand.
type thief struct {
	*provider
	fsys *memFS
}

func (p *thief) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	tx, err := p.provider.Begin(ctx, a, from, opts)
	for _, name := range p.fsys.files(store.MessageExt) {
		_ = p.fsys.Remove(name)
	}
	return tx, err
}

// TestFileGoneMidway holds that a file which is removed by hand while it is sent is
// no failure of the disk.
func TestFileGoneMidway(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	tr := start(t, fsys, p, func(tr *Transport) { tr.next, tr.MaxMessages = &thief{p, fsys}, 1 })
	defer stop(tr)
	for _, text := range []string{"one", "two"} {
		if _, err := send(tr, "a", text); err != nil {
			t.Fatal(err)
		}
		await(t, tr)
		if st := tr.engine.status(); st.Error != "" || p.count(text) != 1 {
			t.Errorf("%s: arrived %d times, %+v", text, p.count(text), st)
		}
	}
}

// fussyFS is a memFS whose files end as it says.
type fussyFS struct {
	*memFS
	sync, close func() error
}

type fussyFile struct {
	disk.File
	fs *fussyFS
}

func (f *fussyFS) Create(path string) (disk.File, error) {
	file, err := f.memFS.Create(path)
	return &fussyFile{file, f}, err
}

func (f *fussyFile) Sync() error {
	if f.fs.sync != nil {
		if err := f.fs.sync(); err != nil {
			return err
		}
	}
	return f.File.Sync()
}

func (f *fussyFile) Close() error {
	if f.fs.close != nil {
		return f.fs.close()
	}
	return f.File.Close()
}

// TestCloseFails holds that a message whose file could not be closed is not kept,
// as its client was told.
func TestCloseFails(t *testing.T) {
	fsys := &fussyFS{memFS: newMemFS(), close: func() error { return errors.New("input/output error") }}
	p := newProvider()
	tr := start(t, fsys, p, nil)
	if _, err := send(tr, "a", "text"); !errors.Is(err, relay.ReplySpoolFailed) {
		t.Errorf("the client heard %v", err)
	}
	if left := fsys.files(""); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	stop(tr)
	tr = start(t, fsys.memFS, p, nil)
	defer stop(tr)
	await(t, tr)
	if n := p.count("text"); n != 0 {
		t.Errorf("sent %d times after all", n)
	}
}

// TestCommitUnderWay holds that the directory is not given away, nor a drain at its
// end, while a message is on its way to the disk.
func TestCommitUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		syncing, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		fsys := &fussyFS{memFS: newMemFS(), sync: func() error {
			once.Do(func() { close(syncing); <-goOn })
			return nil
		}}
		p := newProvider()
		tr := start(t, fsys, p, nil)
		heard := make(chan error)
		go func() {
			_, err := send(tr, "a", "text")
			heard <- err
		}()
		<-syncing
		if err := Drain("", false); err != nil {
			t.Error(err)
		}
		if st := tr.engine.status(); st.Keeping != 1 {
			t.Errorf("while a message is written: %+v", st)
		}
		_ = tr.Detach()
		time.Sleep(stopTimeout + 5*time.Second)
		synctest.Wait()
		if lock, err := fsys.Lock(tr.dir); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("the directory was given away while a message was written: %v", err)
			_ = lock.Close()
		}
		close(goOn)
		if err := <-heard; err != nil {
			t.Errorf("the client heard %v", err)
		}
		<-tr.engine.done
		tr = start(t, fsys, p, nil)
		defer stop(tr)
		synctest.Wait()
		if p.count("text") != 1 {
			t.Errorf("the message arrived %d times", p.count("text"))
		}
	})
}

// TestNothingWhileAway holds that a process which waits for the directory writes
// nothing in it, however large a message that the provider takes.
func TestNothingWhileAway(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	lock, err := fsys.Lock("")
	if err != nil {
		t.Fatal(err)
	}
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
	defer stop(tr)
	defer lock.Close()
	fsys.mu.Lock()
	made := 0
	fsys.before = func(op string) error {
		if op == "create" {
			made++
		}
		return nil
	}
	fsys.mu.Unlock()
	large := strings.Repeat("x", 4*store.KeepInMemory)
	if _, err := send(tr, "a", large); err != nil || p.count(large) != 1 {
		t.Errorf("a message that the provider takes: %v", err)
	}
	p.set(true)
	if _, err := send(tr, "a", large); !errors.Is(err, relay.ReplyUpstreamDown) {
		t.Errorf("the client heard %v, want the provider's own word", err)
	}
	fsys.mu.Lock()
	defer fsys.mu.Unlock()
	if made > 0 {
		t.Errorf("%d files were made in another process's directory", made)
	}
}

// Interface guards
var (
	_ disk.FS   = (*fussyFS)(nil)
	_ io.Closer = (*fussyFile)(nil)
)
