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

package sql

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts/ondemand"
)

const (
	// overlap is how long a transaction may last whose changes the poll sees:
	// now() is when a transaction began. What lasts longer is seen when the
	// account is read again.
	overlap = 30 * time.Second
	// listened is how long a connection has to last for the next failure to be told.
	listened = 30 * time.Second
	// retryMost is the longest pause after the database failed.
	retryMost = 10 * time.Second
)

// follow tells a cache of changes.
type follow struct {
	read    *reader
	cache   *ondemand.Cache
	channel string
	poll    time.Duration
	logger  *zap.Logger
}

func (f *follow) start(ctx context.Context, loops *sync.WaitGroup) {
	if f.read.changes != "" {
		loops.Go(func() { f.polling(ctx) })
	}
	if f.channel != "" {
		loops.Go(func() { f.listening(ctx) })
	}
}

// polling looks at the column of the last change.
func (f *follow) polling(ctx context.Context) {
	ticker := time.NewTicker(f.poll)
	defer ticker.Stop()
	last, failing := time.Now(), false
	var seen seen
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		began := time.Now()
		changes, err := f.read.changed(ctx, (began.Sub(last) + overlap).Seconds())
		if err != nil {
			if !failing && ctx.Err() == nil {
				f.logger.Warn("changed accounts cannot be looked for, they are read again in their time", zap.Error(err))
			}
			failing = true
			continue // the next one looks farther back
		}
		last, failing = began, false
		names, all := seen.news(changes)
		if all {
			f.cache.ChangedAll()
		} else {
			f.cache.Changed(names...)
		}
	}
}

// seen is what the last look showed, of which the overlap shows much again.
type seen struct {
	at     map[string]string // by name
	newest string
}

// news returns the names that changed since, or that all may have: so many did
// that not all of them were shown.
func (s *seen) news(changes []change) (names []string, all bool) {
	newest := s.newest
	if len(changes) > 0 {
		s.newest = changes[0].At
	}
	if len(changes) >= maxChanges {
		s.at = nil
		for _, c := range changes {
			if c.At == newest {
				return names, false
			}
			names = append(names, c.Name)
		}
		return nil, true
	}
	now := make(map[string]string, len(changes))
	for _, c := range changes {
		now[c.Name] = c.At
		if s.at[c.Name] != c.At {
			names = append(names, c.Name)
		}
	}
	s.at = now
	return names, false
}

// listening takes notifications.
func (f *follow) listening(ctx context.Context) {
	pause := time.Second
	for failing := false; ctx.Err() == nil; {
		began := time.Now()
		err := f.read.db.Listen(ctx, f.channel, f.cache.ChangedAll, func(name string) {
			if name == "" {
				f.cache.ChangedAll()
			} else {
				f.cache.Changed(name)
			}
		})
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > listened {
			pause, failing = time.Second, false
		}
		if !failing {
			failing = true
			f.logger.Warn("no notifications of changed accounts until the database is back", zap.String("channel", f.channel), zap.Error(err))
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, retryMost)
	}
}
