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
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// journalPoll is how often other processes' changes are looked for:
	// one read of one key, whatever the number of accounts.
	journalPoll = 15 * time.Second
	// watchedPoll is how often that is on a storage that many nodes share, and that tells
	// them of changes: a change is to be everywhere within a second also where what it
	// tells does not arrive.
	watchedPoll = 500 * time.Millisecond
	// toldInterval is how often others' word causes one.
	toldInterval = 100 * time.Millisecond
	// pokeInterval is how often an unknown name may cause one more look.
	pokeInterval = 2 * time.Second
	// rescanInterval is how often all records are read again, for what
	// the journal does not tell: a writer killed between the two, or a
	// storage that was restored from a backup.
	rescanInterval = 15 * time.Minute
	// journalLen is how many changes the journal remembers. Who is
	// further behind reads all records.
	journalLen = 256
	// retryMax is the longest pause after the storage failed.
	retryMax = 30 * time.Second
)

// journal says which records changed last.
type journal struct {
	// Epoch is random: a journal that was lost starts another one.
	Epoch string `json:"epoch"`
	// Rev counts the changes, the last of Keys being that of Rev.
	Rev uint64 `json:"rev"`
	// Keys are the storage keys of the last changes, without the prefix.
	Keys []string `json:"keys"`
}

type journalPos struct {
	epoch string
	rev   uint64
}

func (s *state) loadJournal(ctx context.Context) (journal, error) {
	var j journal
	blob, err := s.store().Load(ctx, journalKey)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, err
	}
	if json.Unmarshal(blob, &j) != nil {
		return journal{}, nil // the next writer begins another one
	}
	return j, nil
}

func (s *state) pokeLoop() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// loop loads all records and then follows their changes.
func (s *state) loop(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	s.mu.Lock()
	complete := s.complete
	s.mu.Unlock()
	began, pause := time.Now(), time.Second
	for !complete {
		err := s.rescan(ctx)
		if err == nil {
			s.logger.Load().Info("accounts loaded", zap.String("source", "dynamic"),
				zap.Int("accounts", s.index.Len()), zap.Int("problems", len(s.problems())),
				zap.Duration("duration", time.Since(began)))
			break
		}
		if ctx.Err() != nil {
			return
		}
		s.logger.Load().Error("loading accounts from the storage", zap.Error(err), zap.Duration("retry_in", pause))
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, retryMax)
	}

	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx) })
	defer watching.Wait()
	look := time.NewTimer(s.lookEvery())
	defer look.Stop()
	scanned, polled, failing := time.Now(), time.Time{}, false
	if complete {
		s.pokeLoop() // nobody looked for a while
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-s.told:
			if wait := toldInterval - time.Since(polled); wait > 0 && !sleep(ctx, wait) {
				return
			}
		case <-s.poke:
			if wait := pokeInterval - time.Since(polled); wait > 0 && !sleep(ctx, wait) {
				return
			}
		}
		var err error
		if time.Since(scanned) >= rescanInterval {
			scanned = time.Now()
			err = s.rescan(ctx)
		} else {
			err = s.poll(ctx)
		}
		polled = time.Now()
		if err != nil && !failing && ctx.Err() == nil {
			s.logger.Load().Error("looking for changed accounts in the storage", zap.Error(err))
		}
		failing = err != nil
		look.Reset(s.lookEvery())
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// poll applies what others changed.
func (s *state) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*storageTimeout)
	defer cancel()
	s.mu.Lock()
	pos, complete := s.pos, s.complete
	s.mu.Unlock()
	if !complete {
		return s.rescan(ctx)
	}
	j, err := s.loadJournal(ctx)
	if err != nil {
		return err
	}
	if j.Epoch == pos.epoch && j.Rev == pos.rev {
		return nil
	}
	if j.Epoch != pos.epoch || j.Rev < pos.rev || j.Rev-pos.rev > uint64(len(j.Keys)) {
		return s.rescan(ctx)
	}
	seen := make(map[string]bool)
	for _, k := range j.Keys[uint64(len(j.Keys))-(j.Rev-pos.rev):] {
		key := prefix + "/" + k
		if seen[key] || !isStorageKey(key) {
			continue
		}
		seen[key] = true
		if err := s.refresh(ctx, key); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if s.pos == pos {
		s.pos = journalPos{j.Epoch, j.Rev}
	}
	s.mu.Unlock()
	return nil
}

// rescan reads all records.
func (s *state) rescan(ctx context.Context) error {
	// The journal comes first: what changes meanwhile is read twice.
	j, err := s.loadJournal(ctx)
	if err != nil {
		return err
	}
	keys, err := s.store().List(ctx, prefix, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listed := make(map[string]bool, len(keys))
	for _, k := range keys {
		if isStorageKey(k) {
			listed[k] = true
		}
	}
	s.mu.Lock()
	for k := range s.known { // those that are gone
		listed[k] = true
	}
	for k := range s.bad {
		listed[k] = true
	}
	s.mu.Unlock()

	work := make(chan string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range loadParallel {
		wg.Go(func() {
			for key := range work {
				if err := s.refresh(ctx, key); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for key := range listed {
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop || ctx.Err() != nil {
			break
		}
		work <- key
	}
	close(work)
	wg.Wait()
	if failed != nil {
		return failed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	s.pos = journalPos{j.Epoch, j.Rev}
	s.complete = true
	clear(s.absent)
	s.setLoading()
	s.mu.Unlock()
	return nil
}
