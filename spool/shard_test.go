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
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// keepIn keeps a message whose file is in that shard, past the queue: whether it is
// on the disk is all that counts.
func keepIn(tr *Transport, shard string) error {
	env := &record.Envelope{ID: store.NewID(time.Now())[:22] + shard, Account: "a", Created: time.Now(), Rcpts: []relay.Recipient{{To: "to@example.org"}}}
	k := store.NewKeeper(tr.engine.store, env, strings.NewReader("text"))
	defer k.Drop()
	return errors.Join(k.Rest(), k.Commit())
}

// afterPowerLoss returns how many messages a disk has that lost its power.
func afterPowerLoss(fsys *memFS) int { return len(fsys.crash().files(store.MessageExt)) }

// TestShardOfTheKilled holds that a shard which a killed process made, and did not
// live to sync, is durable before a message in it is promised.
func TestShardOfTheKilled(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	stop(start(t, fsys, p, nil))
	// Its directories as it left them.
	if err := fsys.Mkdir(filepath.Join("/spool", t.Name(), "ab")); err != nil {
		t.Fatal(err)
	}
	tr := start(t, fsys, p, nil)
	defer stop(tr)
	if err := keepIn(tr, "ab"); err != nil {
		t.Fatal(err)
	}
	if n := afterPowerLoss(fsys); n != 1 {
		t.Errorf("%d messages are there after a loss of power, of 1 that was promised", n)
	}
}

// TestShardSyncFails holds that a shard whose name could not be synced is not taken
// for durable the next time.
func TestShardSyncFails(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, nil)
	defer stop(tr)
	failed := false
	fsys.mu.Lock()
	fsys.before = func(op string) error {
		if op == "syncdir" && !failed {
			failed = true
			return errors.New("input/output error")
		}
		return nil
	}
	fsys.mu.Unlock()
	promised := 0
	for range 2 {
		if keepIn(tr, "ab") == nil {
			promised++
		}
	}
	if st := tr.engine.status(); st.Error == "" || promised > 0 || !failed {
		t.Errorf("with a shard that could not be synced %d are promised: %+v", promised, st)
	}
}

// TestShardOfTwo holds that a message does not go before the sync of a shard that
// another one makes.
func TestShardOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		slow := &slowFS{memFS: fsys, syncing: make(chan struct{}), goOn: make(chan struct{})}
		tr := start(t, slow, p, nil)
		defer stop(tr)
		slow.shard = "/spool/" + t.Name()
		ended := make(chan error, 2)
		go func() { ended <- keepIn(tr, "ab") }()
		<-slow.syncing
		go func() { ended <- keepIn(tr, "ab") }()
		synctest.Wait()
		select {
		case err := <-ended:
			if n := afterPowerLoss(fsys); err == nil && n != 1 {
				t.Errorf("%d messages are there after a loss of power, of 1 that was promised", n)
			}
			close(slow.goOn)
		default:
			close(slow.goOn)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := afterPowerLoss(fsys); n != 2 {
			t.Errorf("%d messages are there after a loss of power, of 2 that were promised", n)
		}
	})
}

// slowFS is a memFS whose first sync of one directory waits.
type slowFS struct {
	*memFS
	shard         string
	syncing, goOn chan struct{}
}

func (f *slowFS) SyncDir(path string) error {
	if path == f.shard {
		select {
		case <-f.syncing:
		default:
			close(f.syncing)
			<-f.goOn
		}
	}
	return f.memFS.SyncDir(path)
}

// TestNoDescriptors holds that a directory which cannot even be opened, for want of
// descriptors, is no disk that has failed: one message is refused, not all until a
// restart.
func TestNoDescriptors(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, nil)
	defer stop(tr)
	refuse := 0
	fsys.mu.Lock()
	fsys.before = func(op string) error {
		if op == "syncdir" && refuse > 0 {
			refuse--
			return &fs.PathError{Op: "open", Path: "shard", Err: syscall.EMFILE}
		}
		return nil
	}
	fsys.mu.Unlock()
	// The first is met when the shard is made, the second when it is there.
	for _, shard := range []string{"ab", "cd"} {
		if shard == "cd" {
			if err := keepIn(tr, shard); err != nil {
				t.Fatal(err)
			}
		}
		before := len(fsys.files(""))
		fsys.mu.Lock()
		refuse = 1
		fsys.mu.Unlock()
		if keepIn(tr, shard) == nil {
			t.Errorf("shard %s: kept without a sync", shard)
		}
		if n := len(fsys.files("")); n != before {
			t.Errorf("shard %s: %d files, %d before", shard, n, before)
		}
		if err := keepIn(tr, shard); err != nil {
			t.Errorf("shard %s: the next one: %v", shard, err)
		}
	}
	if n := afterPowerLoss(fsys); n != 3 {
		t.Errorf("%d messages are there after a loss of power, of 3 that were promised", n)
	}
}
