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
	"time"
)

// watcher is a storage by which processes hear of each other's changes at once.
// What is lost on its way is found by the next look, as on other storages.
type watcher interface {
	// Announce tells those that watch that a key has changed.
	Announce(ctx context.Context, key string) error
	// Watch calls changed with each key, and began when it hears them. It
	// returns when it no longer does.
	Watch(ctx context.Context, began func(), changed func(key string)) error
}

// watchAgain is the pause before a storage is watched again that could not be.
const watchAgain = time.Second

// watch has the loop look at once when another process has changed something.
func (s *state) watch(ctx context.Context) {
	tell := func() {
		select {
		case s.told <- struct{}{}:
		default:
		}
	}
	for {
		pause := journalPoll // a reload may bring another storage
		if w, ok := s.store().(watcher); ok {
			_ = w.Watch(ctx, tell, func(key string) {
				if key == journalKey {
					tell()
				}
			})
			pause = watchAgain
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// lookEvery is how often changes of others are looked for. A reload may bring another storage.
func (s *state) lookEvery() time.Duration {
	if _, ok := s.store().(watcher); ok {
		return watchedPoll
	}
	return journalPoll
}

// announce tells others that the journal has changed.
func (s *state) announce(ctx context.Context) error {
	if w, ok := s.store().(watcher); ok {
		return w.Announce(ctx, journalKey)
	}
	return nil
}
