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

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/internal/pgdb"
)

const (
	// lease is how long a lock is held that nothing renews, by the server's
	// clock.
	lease = 20 * time.Second
	// renewEvery leaves time for two renewals that fail.
	renewEvery = lease / 4
	// A lock that is held is asked for again after pollFirst, then after twice
	// as long each time, up to pollMost.
	pollFirst, pollMost = 20 * time.Millisecond, 500 * time.Millisecond
)

// ErrLockLost says that a lock's lease had ended before it was given back.
var ErrLockLost = errors.New("the lock was lost: its lease had ended")

// locks are the locks that this process holds.
type locks struct {
	db            *pgdb.DB
	table, fences string
	holder        string

	mu      sync.Mutex
	held    map[string]int64 // fences by name
	renewal chan struct{}    // closed: nothing is held any more
}

func newLocks(db *pgdb.DB) *locks {
	return &locks{db: db, table: db.Table("locks"), fences: db.Table("fences"), holder: rand.Text(), held: make(map[string]int64)}
}

// Lock implements certmagic.Storage.
func (s *Storage) Lock(ctx context.Context, name string) error {
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		ok, err := s.TryLock(ctx, name)
		if err != nil || ok {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("locking %s: %w", name, ctx.Err())
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (s *Storage) TryLock(ctx context.Context, name string) (bool, error) {
	l := s.locks
	l.mu.Lock()
	_, ours := l.held[name]
	l.mu.Unlock()
	if ours {
		return false, nil
	}
	fence, err := l.take(ctx, name)
	if err != nil || fence == 0 {
		return false, wrap("locking", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[name] = fence
	if l.renewal == nil {
		l.renewal = make(chan struct{})
		go l.renew(l.renewal) //nolint:gosec // for all that is held, whoever asked first
	}
	return true, nil
}

// take returns the fence of a lock that was free, else 0. Who gives up does not end
// the statement: the server may have written the lock, and wait for its standby. What
// comes too late is given back.
func (l *locks) take(ctx context.Context, name string) (int64, error) {
	type answer struct {
		fence int64
		err   error
	}
	got := make(chan answer)
	go func() {
		fence, err := l.ask(ctx, name)
		select {
		case got <- answer{fence, err}:
		case <-ctx.Done():
			if fence != 0 {
				_, _ = l.free(context.WithoutCancel(ctx), name, fence) // else its lease ends
			}
		}
	}()
	select {
	case a := <-got:
		return a.fence, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// ask asks the server for a lock, once it has begun to whatever becomes of ctx.
func (l *locks) ask(ctx context.Context, name string) (fence int64, err error) {
	err = l.db.Do(context.WithoutCancel(ctx), func(own context.Context, q pgdb.Querier) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Most that wait find it held: they write nothing.
		return q.QueryRow(own, "INSERT INTO "+l.table+` AS l (name, holder, fence, until)
			SELECT $1, $2, nextval($3), clock_timestamp() + $4::float8 * interval '1 second'
			WHERE NOT EXISTS (SELECT 1 FROM `+l.table+` WHERE name = $1 AND until > clock_timestamp())
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = excluded.fence, until = excluded.until
			WHERE l.until <= clock_timestamp() RETURNING fence`, name, l.holder, l.fences, lease.Seconds()).Scan(&fence)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return fence, err
}

// free deletes a lock. It reports whether there was that one.
func (l *locks) free(ctx context.Context, name string, fence int64) (bool, error) {
	var n int64
	err := l.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		tag, err := q.Exec(ctx, "DELETE FROM "+l.table+" WHERE name = $1 AND fence = $2", name, fence)
		n = tag.RowsAffected()
		return err
	})
	return n > 0, err
}

// HoldsLock reports whether a lock that this process has taken is held, and will be
// for a quarter of the lease from before it was asked: by the server's clock, since
// a machine that is paused may not know that it was.
func (s *Storage) HoldsLock(ctx context.Context, name string) (bool, error) {
	l := s.locks
	l.mu.Lock()
	fence, ok := l.held[name]
	l.mu.Unlock()
	if !ok {
		return false, nil
	}
	began := time.Now()
	err := l.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		return q.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+l.table+` WHERE name = $1 AND fence = $2
			AND until > clock_timestamp() + $3::float8 * interval '1 second')`, name, fence, (lease / 4).Seconds()).Scan(&ok)
	})
	return ok && time.Since(began) < lease/4, wrap("asking for lock", name, err)
}

// Unlock implements certmagic.Storage.
func (s *Storage) Unlock(ctx context.Context, name string) error {
	l := s.locks
	l.mu.Lock()
	fence, ok := l.held[name]
	delete(l.held, name)
	if len(l.held) == 0 && l.renewal != nil {
		close(l.renewal)
		l.renewal = nil
	}
	l.mu.Unlock()
	if !ok {
		return fmt.Errorf("unlocking %s: %w", name, ErrLockLost)
	}
	held, err := l.free(ctx, name, fence)
	if err == nil && !held {
		err = ErrLockLost
	}
	return wrap("unlocking", name, err)
}

// RenewLockLease implements certmagic.LockLeaseRenewer. Locks are renewed
// anyway: this asks for a longer lease at once.
func (s *Storage) RenewLockLease(ctx context.Context, name string, d time.Duration) error {
	l := s.locks
	l.mu.Lock()
	fence, ok := l.held[name]
	l.mu.Unlock()
	if !ok {
		return fmt.Errorf("renewing lock %s: %w", name, ErrLockLost)
	}
	n, err := l.extend(ctx, []int64{fence}, d)
	if err == nil && len(n) == 0 {
		err = ErrLockLost
	}
	return wrap("renewing lock", name, err)
}

// extend renews leases that have not ended and returns which those are. A lease
// never becomes shorter, and one that ended is not revived: another process may
// have looked at it.
func (l *locks) extend(ctx context.Context, fences []int64, d time.Duration) ([]int64, error) {
	var kept []int64
	err := l.db.DoFirst(ctx, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, "UPDATE "+l.table+` SET until = greatest(until, clock_timestamp() + $2::float8 * interval '1 second')
			WHERE holder = $3 AND fence = ANY ($1) AND until > clock_timestamp() RETURNING fence`, fences, d.Seconds(), l.holder)
		if err != nil {
			return err
		}
		kept, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	return kept, err
}

// renew keeps what is held until nothing is.
func (l *locks) renew(done <-chan struct{}) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		fences := make([]int64, 0, len(l.held))
		for _, f := range l.held {
			fences = append(fences, f)
		}
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), renewEvery)
		// A renewal that fails is tried again at the next tick; what is lost
		// meanwhile, Unlock and Swap say.
		_, _ = l.extend(ctx, fences, lease)
		cancel()
	}
}
