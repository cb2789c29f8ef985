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

package history

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/storelock"
)

// Key is the value in the storage.
const Key = "smtp/history.json"

const (
	lockName = "smtp_history"
	// every is how often what was counted is written.
	every = time.Minute
	// patience bounds one visit to the storage.
	patience = 10 * time.Second
)

// History counts the messages of a process. Its zero value is ready.
type History struct {
	mu      sync.Mutex
	pending ring // not stored yet
}

// Process is the process's own: what its servers send is counted here.
var Process History

// Count counts a message that has ended now; code is that of the final reply, or 0.
func (h *History) Count(now time.Time, code int) {
	hour := hourOf(now)
	h.mu.Lock()
	h.pending.at(hour).count(code)
	h.mu.Unlock()
}

// Keep writes what is counted into the storage until stop is called, which writes the
// rest. A storage that fails is told of once; what could not be written waits.
func (h *History) Keep(storage certmagic.Storage, logger *zap.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		failing := false
		for {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				h.log(h.flush(context.Background(), storage, logger), &failing, logger)
				return
			}
			h.log(h.flush(ctx, storage, logger), &failing, logger)
		}
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-ended
	})
}

// log tells of a storage that has begun to fail, or has ceased to.
func (h *History) log(err error, failing *bool, logger *zap.Logger) {
	switch {
	case errors.Is(err, context.Canceled):
		// The last visit follows.
	case err != nil && !*failing:
		logger.Warn("the history of messages cannot be written, and waits", zap.String("key", Key), zap.Error(err))
		*failing = true
	case err == nil && *failing:
		logger.Info("the history of messages is written again", zap.String("key", Key))
		*failing = false
	}
}

// take returns what is pending, which then is no more.
func (h *History) take() (r ring, something bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, h.pending = h.pending, ring{}
	for i := range r {
		something = something || r[i].Total() > 0
	}
	return r, something
}

// flush adds what is pending to what is stored. What a storage says it has not written
// is added again later: should it have been written nonetheless, it counts twice.
func (h *History) flush(ctx context.Context, storage certmagic.Storage, logger *zap.Logger) (err error) {
	r, something := h.take()
	if !something {
		return nil
	}
	defer func() {
		if err != nil {
			h.mu.Lock()
			h.pending.merge(&r, time.Now())
			h.mu.Unlock()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	unlock, err := storelock.Lock(ctx, storage, lockName, patience)
	if err != nil {
		return err
	}
	defer func() {
		if e := unlock(); e != nil {
			logger.Warn("the history's lock cannot be given back", zap.Error(e))
		}
	}()
	all, err := load(ctx, storage)
	if _, damaged := errors.AsType[*damagedError](err); damaged {
		logger.Warn("the history of messages cannot be read, and begins anew", zap.String("key", Key), zap.Error(err))
		all, err = new(ring), nil
	}
	if err != nil {
		return err
	}
	all.merge(&r, time.Now())
	b, err := all.encode()
	if err != nil {
		return err
	}
	return storage.Store(ctx, Key, b)
}

// damagedError is of a value that is no history.
type damagedError struct{ error }

func (e *damagedError) Unwrap() error { return e.error }

// load reads what is stored; nothing is an empty ring.
func load(ctx context.Context, storage certmagic.Storage) (*ring, error) {
	b, err := storage.Load(ctx, Key)
	if errors.Is(err, fs.ErrNotExist) {
		return new(ring), nil
	}
	if err != nil {
		return nil, err
	}
	r, err := decode(b)
	if err != nil {
		return nil, &damagedError{err}
	}
	return r, nil
}

// Hour is what became of messages in an hour.
type Hour struct {
	Begin time.Time
	Counts
}

// Last returns the last Hours hours, the oldest first, the hour of now last: what all
// processes have stored, and what this one has yet to store. With an error it is the
// latter alone.
func (h *History) Last(ctx context.Context, storage certmagic.Storage, now time.Time) ([]Hour, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := load(ctx, storage)
	if err != nil {
		all = new(ring)
	}
	h.mu.Lock()
	pending := h.pending
	h.mu.Unlock()
	all.merge(&pending, now)
	list := make([]Hour, 0, Hours)
	for at := hourOf(now) - Hours + 1; at <= hourOf(now); at++ {
		list = append(list, Hour{time.Unix(at*3600, 0).UTC(), all.at(at).Counts})
	}
	return list, err
}
