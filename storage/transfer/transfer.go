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

package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// tokensDir is where the tokens are, which are numbered.
const tokensDir = "smtp/tokens" //nolint:gosec // a path

// Report says what became of the values of the source.
type Report struct {
	// Keys is the number of values in the source, Bytes their size.
	Keys  int   `json:"keys"`
	Bytes int64 `json:"bytes"`
	// Copied have been written, or would be; Same were there already.
	Copied int `json:"copied"`
	Same   int `json:"same"`
	// Newer are the keys, in order, of which the target has a newer value. They are left.
	Newer []string `json:"newer,omitempty"`
	// Extra are the keys, in order, that the target alone has. They are left.
	Extra []string `json:"extra,omitempty"`
	// Digest is the SHA-256 of the keys and values of the source, in order.
	// Without Newer the target has come to the same.
	Digest string `json:"digest"`
}

// Options say how to copy.
type Options struct {
	// DryRun compares, and writes nothing.
	DryRun bool
	// Progress is called with the number of values that have been copied, and those
	// that have been compared after that; nil: it is not.
	Progress func(copied, compared, all int)
}

// transfer is one copy under way.
type transfer struct {
	from, to certmagic.Storage
	Options
	keys []string
	sums [][sha256.Size]byte

	mu               sync.Mutex
	report           Report
	copied, compared int
}

// Copy copies every value of from into to. With an error the report says how
// far it came.
func Copy(ctx context.Context, from, to certmagic.Storage, o Options) (Report, error) {
	t := &transfer{from: from, to: to, Options: o}
	err := t.run(ctx)
	slices.Sort(t.report.Newer)
	return t.report, err
}

func (t *transfer) run(ctx context.Context) (err error) {
	if t.keys, err = list(ctx, t.from); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	if len(t.keys) == 0 {
		return errors.New("the source: there is nothing in it: look at its path or database, and at the direction")
	}
	if err := unfolded(t.from, t.to, t.keys); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	there, err := list(ctx, t.to)
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	if !t.DryRun {
		if err := t.distinct(ctx); err != nil {
			return err
		}
	}
	t.report.Keys, t.sums = len(t.keys), make([][sha256.Size]byte, len(t.keys))
	for _, k := range there {
		if _, ok := slices.BinarySearch(t.keys, k); !ok {
			t.report.Extra = append(t.report.Extra, k)
		}
	}
	if err := each(ctx, len(t.keys), t.one); err != nil {
		return err
	}
	all := sha256.New()
	for i, k := range t.keys {
		fmt.Fprintf(all, "%d %s %x\n", len(k), k, t.sums[i])
	}
	t.report.Digest = hex.EncodeToString(all.Sum(nil))
	if t.DryRun {
		return nil
	}
	return t.check(ctx)
}

// each calls f with 0 to n-1, some of them at a time: storages answer more at once
// than one after the other. After an error no more are begun.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	const atATime = 8
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(atATime, n) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := f(ctx, i); err != nil {
					cancel(err) // the first one's stays
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// distinct is an error if what is written to the target is in the source too: the
// same files by another path, or the same database by another name.
func (t *transfer) distinct(ctx context.Context) error {
	key := locksDir + "copy-" + rand.Text()
	if err := t.to.Store(ctx, key, []byte("whether this is another storage")); err != nil {
		return fmt.Errorf("the target: writing %s: %w", key, err)
	}
	same := t.from.Exists(ctx, key)
	if err := t.to.Delete(ctx, key); err != nil {
		return fmt.Errorf("the target: deleting %s: %w", key, err)
	}
	if same {
		return errors.New("the source and the target are the same storage")
	}
	return nil
}

// done tells of progress. It is called for each value twice.
func (t *transfer) done(count *int, change func(r *Report)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*count++
	if change != nil {
		change(&t.report)
	}
	if t.Progress != nil {
		t.Progress(t.copied, t.compared, len(t.keys))
	}
}

// one copies one value.
func (t *transfer) one(ctx context.Context, i int) error {
	key := t.keys[i]
	value, err := t.from.Load(ctx, key)
	if err != nil {
		return fmt.Errorf("the source: reading %s: %w", key, err)
	}
	t.sums[i] = sha256.Sum256(value)
	has, err := t.to.Load(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("the target: reading %s: %w", key, err)
	case bytes.Equal(has, value):
		t.done(&t.copied, func(r *Report) { r.Bytes, r.Same = r.Bytes+int64(len(value)), r.Same+1 })
		return nil
	default:
		newer, err := newerThere(ctx, t.from, t.to, key, value, has)
		if err != nil {
			return err
		}
		if newer {
			t.done(&t.copied, func(r *Report) { r.Bytes, r.Newer = r.Bytes+int64(len(value)), append(r.Newer, key) })
			return nil
		}
	}
	if !t.DryRun {
		if err := t.to.Store(ctx, key, value); err != nil {
			return fmt.Errorf("the target: writing %s: %w", key, err)
		}
	}
	t.done(&t.copied, func(r *Report) { r.Bytes, r.Copied = r.Bytes+int64(len(value)), r.Copied+1 })
	return nil
}

// newerThere reports whether the target's value is newer: of two tokens the one
// with the greater number, of anything else what was written later. When
// neither is, the target's stays.
func newerThere(ctx context.Context, from, to certmagic.Storage, key string, value, has []byte) (bool, error) {
	if a, b := number(key, value), number(key, has); a != b && a > 0 && b > 0 {
		return b > a, nil
	}
	a, err := from.Stat(ctx, key)
	if err != nil {
		return false, fmt.Errorf("the source: asking for %s: %w", key, err)
	}
	b, err := to.Stat(ctx, key)
	if err != nil {
		return false, fmt.Errorf("the target: asking for %s: %w", key, err)
	}
	// Storages keep no more than microseconds.
	return !a.Modified.Truncate(time.Microsecond).After(b.Modified), nil
}

// number is a token's; 0 where it is sealed, or is no token.
func number(key string, value []byte) uint64 {
	var rec struct {
		Seq uint64 `json:"seq"`
	}
	if !strings.HasPrefix(key, tokensDir) || json.Unmarshal(value, &rec) != nil {
		return 0
	}
	return rec.Seq
}

// check reads both storages again.
func (t *transfer) check(ctx context.Context) error {
	again, err := list(ctx, t.from)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	if !slices.Equal(t.keys, again) {
		return fmt.Errorf("the source has %d values now and had %d: something writes to it; stop the gateway and copy again", len(again), len(t.keys))
	}
	left := slices.Sorted(slices.Values(t.report.Newer))
	return each(ctx, len(t.keys), func(ctx context.Context, i int) error {
		k := t.keys[i]
		value, err := t.from.Load(ctx, k)
		if err != nil {
			return fmt.Errorf("the source: reading %s again: %w", k, err)
		}
		if sha256.Sum256(value) != t.sums[i] {
			return fmt.Errorf("the source: %s has changed meanwhile: stop the gateway and copy again", k)
		}
		if _, ok := slices.BinarySearch(left, k); !ok {
			if value, err = t.to.Load(ctx, k); err != nil {
				return fmt.Errorf("the target: reading %s again: %w", k, err)
			}
			if sha256.Sum256(value) != t.sums[i] {
				return fmt.Errorf("the target: %s is not what was written: something writes to it; stop that gateway and copy again", k)
			}
		}
		t.done(&t.compared, nil)
		return nil
	})
}
