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

// Package ended keeps which sessions of the console were signed out of. A session lies in
// its browser's cookie and nowhere else: what was copied of it would be good until it
// ends by itself.
package ended

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/storelock"
)

const (
	key      = "smtp_console/ended.json"
	lockName = "smtp_console_ended"
	patience = 10 * time.Second
	// fresh is how long another node's session may go on after its end.
	fresh = 10 * time.Second
	// most bounds the list. Beyond it the first to end by themselves are forgotten.
	most = 10_000
)

// List is that of a storage, which nodes share.
type List struct {
	Storage certmagic.Storage
	Logger  *zap.Logger

	mu     sync.Mutex
	read   time.Time
	until  map[string]time.Time
	failed bool
}

// Has reports whether a session was signed out of. What cannot be read now is as it was
// last: nobody could look for what is wrong otherwise.
func (l *List) Has(ctx context.Context, id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.read) >= fresh {
		l.read = now
		until, err := l.load(ctx)
		switch {
		case err == nil:
			l.until, l.failed = until, false
		case !l.failed:
			l.failed = true
			l.Logger.Error("the sessions that were signed out of cannot be read", zap.Error(err))
		}
	}
	_, ok := l.until[id]
	return ok
}

// Add says that a session was signed out of; until is when it would have ended by itself.
func (l *List) Add(ctx context.Context, id string, until time.Time) error {
	ctx = context.WithoutCancel(ctx)
	l.mu.Lock()
	if l.until == nil {
		l.until = make(map[string]time.Time)
	}
	l.until[id] = until // here at once, whatever becomes of the rest
	l.mu.Unlock()
	unlock, err := storelock.Lock(ctx, l.Storage, lockName, patience)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	all, err := l.load(ctx)
	if err != nil {
		return err
	}
	all[id] = until
	for len(all) > most {
		first := id
		for other, t := range all {
			if t.Before(all[first]) {
				first = other
			}
		}
		delete(all, first)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := l.Storage.Store(ctx, key, text); err != nil {
		return fmt.Errorf("storing the end of a session: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until, l.read = all, time.Now()
	return nil
}

// load reads the list, without what has ended by itself.
func (l *List) load(ctx context.Context) (map[string]time.Time, error) {
	all := make(map[string]time.Time)
	text, err := l.Storage.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%s is damaged", key)
	}
	now := time.Now()
	maps.DeleteFunc(all, func(_ string, t time.Time) bool { return now.After(t) })
	return all, nil
}
