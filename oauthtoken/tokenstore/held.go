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
	"fmt"
	"time"
)

// Holder is a Store that can tell whether a lock is held still. Most locks end when
// the process that has them sleeps: stopped, or with its machine. A refresh token
// must not be sent then, for another process may have spent it, and a provider that
// gets it twice ends the consent. [Swapper] is too late for that.
type Holder interface {
	// Holds returns nil if the lock of a key that this process has taken is held,
	// and will be for seconds; else an error that wraps ErrLost, or why it is not
	// known.
	Holds(ctx context.Context, key string) error
}

// ErrLost is a lock that another process may have.
var ErrLost = errors.New("the lock was lost while this process was stopped, or could not renew it")

// trusted is how long a lock is believed in of which nothing is known but when it
// was taken. Caddy's files, the least patient, are another's after 10 s.
const trusted = 5 * time.Second

// Held returns what reports whether the lock of a key, which was taken just now, is
// held still. It is asked right before a refresh token leaves.
func (r *Records) Held(key string) func(context.Context) error {
	taken := time.Now()
	return func(ctx context.Context) error {
		var err error
		switch {
		case r.holds != nil:
			err = r.holds.Holds(ctx, key)
		case Elapsed(taken) >= trusted:
			err = fmt.Errorf("%w: it is %s old", ErrLost, Elapsed(taken).Round(time.Second))
		}
		if err != nil {
			return StoreError("keeping the lock in", err)
		}
		return nil
	}
}

// Elapsed is how long ago a time was, by whichever clock says that it is longer: the
// monotonic one stands still while the system is suspended, the other one may be set.
func Elapsed(since time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// kernelLocks are held as long as the process lives.
type kernelLocks struct{}

func (kernelLocks) Holds(context.Context, string) error { return nil }

// leasingStorage is a storage that can tell.
type leasingStorage interface {
	HoldsLock(ctx context.Context, name string) (bool, error)
}

type storageHolder struct{ storage leasingStorage }

func (s storageHolder) Holds(ctx context.Context, key string) error {
	ok, err := s.storage.HoldsLock(ctx, LockName(key))
	if err == nil && !ok {
		return ErrLost
	}
	return err
}

// holder returns nil where nobody can tell.
func (s *StorageStore) holder() Holder {
	if s.locks != nil {
		return kernelLocks{}
	}
	if st, ok := s.storage.(leasingStorage); ok {
		return storageHolder{st}
	}
	return nil
}
