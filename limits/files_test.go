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

package limits

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/filelock"
	"github.com/caddymail/mailgateway/limits/journal"
	"github.com/caddymail/mailgateway/limits/lane"
	"github.com/caddymail/mailgateway/limits/record"
)

// kill ends a process without a word: nothing is written any more. What it says
// of itself to the others ends as it would.
func kill(l *Local) {
	l.closed.Store(true)
	for i := range l.shards {
		l.shards[i].stop()
	}
	l.writers.Wait()
	l.laneMu.Lock()
	defer l.laneMu.Unlock()
	if m, ok := l.current().Storage.(*mortal); ok {
		m.dead.Store(true)
	}
	l.files.stop()
	if l.files != nil {
		_ = l.files.Close(false)
	}
	if l.lanes != nil {
		l.lanes.Release() // as the system lets go of files' locks with the process
	}
	l.lanes, l.files = nil, nil
}

// needsJournals skips where storages of files have none.
func needsJournals(t *testing.T) {
	t.Helper()
	var until atomic.Int64
	l, _, err := lane.Open(t.Context(), &certmagic.FileStorage{Path: t.TempDir()}, "up", Now, &until)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if until.Load() != math.MaxInt64 {
		t.Skip("the system has no locks that end with their process")
	}
}

// olderLanes are a process of a version that knows no journals.
type olderLanes struct {
	dir  string
	mine *os.File
}

// olderProcess is such a process: it writes the file of a shard each time.
func olderProcess(t *testing.T, st *certmagic.FileStorage, set accounts.Limits) *Local {
	t.Helper()
	l := process(st, set)
	lanes := &olderLanes{dir: st.Filename(l.dir())}
	if err := os.MkdirAll(filepath.Join(lanes.dir, "lanes"), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := 0; lanes.mine == nil; n++ {
		var err error
		if lanes.mine, err = filelock.Try(lanes.lane(n)); err != nil {
			t.Fatal(err)
		}
		l.lane = n
	}
	l.lanes = lanes
	l.until.Store(math.MaxInt64)
	return l
}

func (o *olderLanes) lane(n int) string {
	return filepath.Join(o.dir, "lanes", strconv.Itoa(n)+".lock")
}

func (o *olderLanes) Lock(ctx context.Context, shard int) (func(), bool, error) {
	dir := filepath.Join(o.dir, strconv.Itoa(shard))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	for {
		f, err := filelock.Try(filepath.Join(dir, "lock"))
		if f != nil || err != nil {
			return func() { _ = f.Close() }, false, err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (o *olderLanes) Part(int)             {}
func (o *olderLanes) Older() (bool, error) { return false, nil }

func (o *olderLanes) Dead(_ context.Context, n int) (bool, error) {
	f, err := filelock.Try(o.lane(n))
	if err != nil || f == nil {
		return false, err
	}
	return true, f.Close()
}

func (o *olderLanes) Take(int) (func(), error) { return nil, nil }
func (o *olderLanes) Release()                 { _ = o.mine.Close() }

// patient waits for a process that has first to notice another.
func patient(t *testing.T, l *Local, most int) int {
	t.Helper()
	a := l.Account("m", "a", nil)
	defer a.Close()
	for began := time.Now(); !l.shard("m").isLoaded(); a.Status(t.Context()) {
		if time.Since(began) > time.Minute {
			t.Fatal("the shard is not let go of")
		}
	}
	for n := range most {
		s, err := a.Reserve(t.Context(), Request{MaxWait: 5 * time.Second, MaxWaiting: 1000})
		if _, used := errors.AsType[*QuotaError](err); used || errors.Is(err, ErrNotStored) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		a.Commit(s, 1)
	}
	return most
}

// afterKill is what docs/upgrade.md says to do after a crash, before a version
// without journals is started.
func afterKill(t *testing.T, st *certmagic.FileStorage, set accounts.Limits) (used int64) {
	t.Helper()
	l := process(st, set)
	defer stop(l)
	a := l.Account("m", "a", nil)
	defer a.Close()
	return a.Status(t.Context()).Limits[0].Used
}

func segments(t *testing.T, l *Local) int {
	t.Helper()
	names, err := journal.OS{}.List(filepath.Join(l.current().Storage.(*certmagic.FileStorage).Filename(l.dir()), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestBesideAnOlderVersion has processes with and without journals share a storage,
// whichever begins first and however each ends: together they stay within the limit,
// and what ended in order costs nothing.
func TestBesideAnOlderVersion(t *testing.T) {
	needsJournals(t)
	const limit = 300
	set := accounts.Limits{Messages: accounts.Rate{Count: limit, Per: day}}
	for _, c := range []struct {
		name       string
		olderFirst bool
		end        func(*Local)
	}{
		{"older first", true, stop}, {"newer first", false, stop},
		{"older first, killed", true, kill}, {"newer first, killed", false, kill},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st := &certmagic.FileStorage{Path: t.TempDir()}
			var one, two *Local
			begin := func(older bool) *Local {
				if older {
					return olderProcess(t, st, set)
				}
				return process(st, set)
			}
			sent := 0
			one = begin(c.olderFirst)
			sent += patient(t, one, 40)
			two = begin(!c.olderFirst)
			for range 5 {
				sent += patient(t, two, 10)
				sent += patient(t, one, 10)
			}
			if sent != 140 {
				t.Errorf("%d of 140 went, long before the limit", sent)
			}
			c.end(one)
			sent += patient(t, two, 10)
			c.end(two)
			afterKill(t, st, set)
			one = begin(c.olderFirst)
			sent += patient(t, one, limit)
			c.end(one)
			afterKill(t, st, set)
			two = begin(!c.olderFirst)
			sent += patient(t, two, limit)
			stop(two)
			if sent > limit {
				t.Errorf("%d messages of %d", sent, limit)
			}
			if sent < limit/2 { // a kill costs what was stored ahead
				t.Errorf("only %d messages of %d", sent, limit)
			}
		})
	}
}

// TestDowngrade ends a process in order: what it leaves is what versions without
// journals read, to the last message. What a killed one leaves they read after a
// process with journals has begun and ended.
func TestDowngrade(t *testing.T) {
	needsJournals(t)
	const limit = 100
	set := accounts.Limits{Messages: accounts.Rate{Count: limit, Per: day}}
	st := &certmagic.FileStorage{Path: t.TempDir()}
	l := process(st, set)
	sent := patient(t, l, 30)
	if segments(t, l) != 1 {
		t.Error("no journal is written")
	}
	stop(l)
	if n := segments(t, l); n != 0 {
		t.Errorf("%d segments of a journal are left", n)
	}
	l = olderProcess(t, st, set)
	sent += patient(t, l, 20)
	stop(l)
	l = process(st, set)
	sent += patient(t, l, 10)
	kill(l)
	used := afterKill(t, st, set)
	l = olderProcess(t, st, set)
	sent += patient(t, l, limit)
	stop(l)
	if used < 60 || int64(sent)-60 != limit-used {
		t.Errorf("%d used after a kill, %d sent in all of %d", used, sent, limit)
	}
}

// TestJournalBegunAnew has many mailboxes send through two processes, one of which
// is killed now and then, with journals that are begun anew every few messages.
func TestJournalBegunAnew(t *testing.T) {
	needsJournals(t)
	const limit, mailboxes, rounds = 40, 12, 8
	set := accounts.Limits{Messages: accounts.Rate{Count: limit, Per: day}}
	st := &certmagic.FileStorage{Path: t.TempDir()}
	begin := func() *Local {
		l := process(st, set)
		l.place.Most = 1000
		return l
	}
	var sent [mailboxes]atomic.Int64
	all := func(l *Local, most int) *sync.WaitGroup {
		var wg sync.WaitGroup
		for i := range mailboxes {
			wg.Go(func() { sent[i].Add(int64(spend(t, l, fmt.Sprint("m", i), "a", nil, most))) })
		}
		return &wg
	}
	living := [2]*Local{begin(), begin()}
	for round := range rounds {
		a, b := all(living[0], 1), all(living[1], 1)
		a.Wait()
		b.Wait()
		i := round / 2 % 2
		if round%2 == 0 {
			kill(living[i])
		} else {
			stop(living[i])
		}
		living[i] = begin()
	}
	for range 3 {
		for _, l := range living {
			all(l, limit).Wait()
		}
	}
	for _, l := range living {
		stop(l)
	}
	for i := range sent {
		if n := sent[i].Load(); n > limit || n < limit/4 {
			t.Errorf("mailbox %d: %d messages of %d", i, n, limit)
		}
	}
	if n := segments(t, living[0]); n != 0 {
		t.Errorf("%d segments are left", n)
	}
}

// broken is a file system that cannot write while it is told so.
type broken struct {
	journal.OS
	full atomic.Bool
}

type brokenFile struct {
	journal.File
	fs *broken
}

var errFull = errors.New("no space left on device")

func (b *broken) Create(path string) (journal.File, error) {
	if b.full.Load() {
		return nil, errFull
	}
	f, err := b.OS.Create(path)
	return &brokenFile{f, b}, err
}

func (b *broken) SyncDir(path string) error {
	if b.full.Load() {
		return errFull
	}
	return b.OS.SyncDir(path)
}

func (f *brokenFile) Write(p []byte) (int, error) {
	if f.fs.full.Load() {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, errFull
	}
	return f.File.Write(p)
}

// TestJournalFull lends nothing that could not be stored, goes on when there is room
// again, and a kill loses nothing.
func TestJournalFull(t *testing.T) {
	needsJournals(t)
	const limit = 200
	set := accounts.Limits{Messages: accounts.Rate{Count: limit, Per: day}}
	st := &certmagic.FileStorage{Path: t.TempDir()}
	fs := new(broken)
	l := process(st, set)
	l.place.FS = fs
	sent := patient(t, l, 20)
	fs.full.Store(true)
	more := spend(t, l, "m", "a", nil, limit)
	if more > 20 {
		t.Errorf("%d messages while nothing could be stored", more)
	}
	sent += more
	fs.full.Store(false)
	sent += patient(t, l, 20)
	kill(l)
	l = process(st, set)
	sent += patient(t, l, limit)
	stop(l)
	if sent > limit || sent < limit-20 {
		t.Errorf("%d messages of %d", sent, limit)
	}
}

// TestFilesHaveWhatTheJournalHas compares both after each kind of write.
func TestFilesHaveWhatTheJournalHas(t *testing.T) {
	needsJournals(t)
	set := accounts.Limits{Messages: accounts.Rate{Count: 1000, Per: day}}
	st := &certmagic.FileStorage{Path: t.TempDir()}
	l := process(st, set)
	defer stop(l)
	other := process(st, set)
	defer stop(other)
	used := func(from *Local) int64 {
		a := from.Account("m", "a", nil)
		defer a.Close()
		return a.Status(t.Context()).Limits[0].Used
	}
	patient(t, l, 7)
	sh := l.shard("m")
	if _, err := sh.flush(l, usual); err != nil {
		t.Fatal(err)
	}
	byJournal := used(other)
	if _, err := sh.flush(l, whole); err != nil {
		t.Fatal(err)
	}
	f, err := record.Load(t.Context(), st, record.Key(l.dir(), sh.i, l.lane), l.current().Logger)
	if err != nil || f.Seq == 0 || f.Mailboxes["m"] == nil {
		t.Fatalf("%+v, %v", f, err)
	}
	if byFile := used(other); byFile != byJournal || byFile < 7 {
		t.Errorf("another process counts %d by the journal, %d by the file", byJournal, byFile)
	}
}

// TestManyRecipientsOfTwo takes many recipients at once where another process lives:
// the last of a limit are not halved until none is left to take.
func TestManyRecipientsOfTwo(t *testing.T) {
	const limit, at = 1000, 50
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	taken := 0
	for _, most := range []int{4, limit} {
		l := NewLocal("up", Config{Limits: accounts.Limits{Recipients: accounts.Rate{Count: limit, Per: time.Hour}}, Storage: storage})
		t.Cleanup(func() { l.Close(); l.Wait() })
		acct := l.Account("box", "box", nil)
		t.Cleanup(acct.Close)
		for range most {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			slot, err := acct.Reserve(ctx, Request{MaxWait: 5 * time.Second, MaxWaiting: 1})
			if err == nil {
				if err = acct.Recipients(ctx, &slot, at); err == nil {
					acct.Commit(slot, at)
					taken += at
				} else {
					acct.Cancel(slot)
				}
			}
			cancel()
			if err == nil {
				continue
			}
			if _, ok := errors.AsType[*QuotaError](err); !ok {
				t.Fatal(err)
			}
			break
		}
	}
	if taken > limit || taken < limit/2 {
		t.Errorf("%d of %d", taken, limit)
	}
}
