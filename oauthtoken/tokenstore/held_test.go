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

package tokenstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// foreignStorage is a storage of which nothing is known.
type foreignStorage struct{ certmagic.Storage }

// leasing is a storage that can tell.
type leasing struct {
	foreignStorage
	name string
	held bool
	err  error
}

func (l *leasing) HoldsLock(_ context.Context, name string) (bool, error) {
	l.name = name
	return l.held, l.err
}

func TestHeld(t *testing.T) {
	key := StorageKey("p", "alice")
	lost := func(t *testing.T, err error, want bool) {
		t.Helper()
		if want != errors.Is(err, ErrLost) || want != (err != nil) {
			t.Errorf("lost: %v; want %v", err, want)
		}
		if want && authserver.AsError(err, 0).Class != authserver.ClassStore {
			t.Errorf("%#v is no trouble of the store", err)
		}
	}
	t.Run("by its age", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			held := NewRecords(NewStorageStore(foreignStorage{})).Held(key)
			time.Sleep(trusted - time.Nanosecond)
			lost(t, held(t.Context()), false)
			time.Sleep(time.Nanosecond)
			lost(t, held(t.Context()), true)
		})
	})
	t.Run("by the kernel", func(t *testing.T) {
		s, _ := quick(t)
		synctest.Test(t, func(t *testing.T) {
			held := NewRecords(s).Held(key)
			time.Sleep(time.Hour)
			lost(t, held(t.Context()), false)
		})
	})
	t.Run("by the storage", func(t *testing.T) {
		s := new(leasing)
		held := NewRecords(NewStorageStore(s)).Held(key)
		lost(t, held(t.Context()), true)
		s.held = true
		lost(t, held(t.Context()), false)
		if s.name != LockName(key) {
			t.Errorf("asked for %s", s.name)
		}
		s.err = errors.New("away")
		if err := held(t.Context()); !errors.Is(err, s.err) || errors.Is(err, ErrLost) {
			t.Errorf("of a storage that is away: %v", err)
		}
	})
}
