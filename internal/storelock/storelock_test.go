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

package storelock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/caddymail/mailgateway/internal/storelock"
)

// locker is a storage's lock that tells of the contexts it is called with.
type locker struct {
	held bool
	err  error
}

func (l *locker) Lock(ctx context.Context, _ string) error {
	if err := errors.Join(ctx.Err(), l.err); err != nil {
		return err
	}
	l.held = true
	return nil
}

func (l *locker) Unlock(ctx context.Context, _ string) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("it may take for ever")
	}
	if ctx.Err() == nil {
		l.held = false
	}
	return ctx.Err()
}

func TestLock(t *testing.T) {
	l := new(locker)
	ctx, cancel := context.WithCancel(t.Context())
	unlock, err := Lock(ctx, l, "x", time.Minute)
	if err != nil || !l.held {
		t.Fatal(err)
	}
	cancel() // the work was given up; the lock is given back all the same
	if err := unlock(); err != nil || l.held {
		t.Errorf("held %v: %v", l.held, err)
	}
	if _, err := Lock(ctx, l, "x", time.Minute); !errors.Is(err, context.Canceled) || l.held {
		t.Errorf("with an ended context: %v", err)
	}
	l.err = errors.New("no storage")
	if _, err := Lock(t.Context(), l, "x", time.Minute); !errors.Is(err, l.err) {
		t.Errorf("without a storage: %v", err)
	}
}
