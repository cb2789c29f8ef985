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

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/ondemand"
)

const (
	// overlap is how long a transaction may last whose changes the poll sees:
	// now() is when a transaction began. What lasts longer is seen when the
	// account is read again.
	overlap = 30 * time.Second
	// listened is how long a connection has to last for the next try to be soon.
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
}

func (f *follow) start(ctx context.Context, loops *sync.WaitGroup) {
	if f.read.columns[changedField] != "" {
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
	last := time.Now()
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
			if ctx.Err() == nil {
				f.note("columns."+changedField, "changed accounts cannot be looked for, they are read again in their time: ", err)
			}
			continue // the next one looks farther back
		}
		last = began
		f.cache.Note("columns."+changedField, nil)
		names, all := seen.news(changes)
		if all {
			f.cache.ChangedAll()
		} else {
			f.cache.Changed(names...)
		}
	}
}

// note has the source's problems tell that changes are seen late.
func (f *follow) note(option, what string, err error) {
	f.cache.Note(option, &accounts.Problem{Source: f.read.source, Field: option, Message: what + err.Error()})
}

// seen is what the last look showed, of which the overlap shows much again.
type seen struct {
	rows map[string]string // by name
	full bool              // more changed than were shown
}

// news returns the names that changed since, or that all may have: so many did
// that not all of them were shown.
func (s *seen) news(changes []change) (names []string, all bool) {
	rows := make(map[string]string, len(changes))
	for _, c := range changes {
		rows[c.Name] += c.At + " " + c.Sum + "\n"
	}
	for _, c := range changes {
		if s.rows[c.Name] != rows[c.Name] {
			names = append(names, c.Name)
		}
	}
	full := len(changes) >= maxChanges
	// What was not shown while there was too much to show may be out of the overlap by
	// the time that there is less.
	all = full && len(names) == len(changes) || s.full && !full
	s.rows, s.full = rows, full
	if all {
		return nil, true
	}
	return names, false
}

// listening takes notifications.
func (f *follow) listening(ctx context.Context) {
	pause := time.Second
	hears := func() {
		f.cache.Note("notify", nil)
		f.cache.ChangedAll()
	}
	for ctx.Err() == nil {
		began := time.Now()
		err := f.read.db.Listen(ctx, f.channel, hears, func(name string) {
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
			pause = time.Second
		}
		f.note("notify", "no notifications of changed accounts: ", err)
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
