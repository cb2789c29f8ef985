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
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// locksDir is where certmagic's files keep locks, which belong to the processes
// that took them. tokensDir is where the tokens are, which are numbered.
const (
	locksDir  = "locks/"
	tokensDir = "smtp/tokens" //nolint:gosec // a path
)

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
	// Extra is the number of values that the target alone has.
	Extra int `json:"extra"`
	// Digest is the SHA-256 of the keys and values of the source, in order.
	// Without Newer the target has come to the same.
	Digest string `json:"digest"`
}

// Options say how to copy.
type Options struct {
	// DryRun compares, and writes nothing.
	DryRun bool
	// Progress is called after each value; nil: it is not.
	Progress func(done, all int)
}

// Copy copies every value of from into to. With an error the report says how
// far it came.
func Copy(ctx context.Context, from, to certmagic.Storage, o Options) (Report, error) {
	var r Report
	keys, err := list(ctx, from)
	if err != nil {
		return r, fmt.Errorf("the source: %w", err)
	}
	there, err := list(ctx, to)
	if err != nil {
		return r, fmt.Errorf("the target: %w", err)
	}
	r.Keys = len(keys)
	sums := make([][sha256.Size]byte, len(keys))
	for i, k := range keys {
		if sums[i], err = r.one(ctx, from, to, k, o.DryRun); err != nil {
			return r, err
		}
		if o.Progress != nil {
			o.Progress(i+1, len(keys))
		}
	}
	for _, k := range there {
		if _, ok := slices.BinarySearch(keys, k); !ok {
			r.Extra++
		}
	}
	all := sha256.New()
	for i, k := range keys {
		fmt.Fprintf(all, "%d %s %x\n", len(k), k, sums[i])
	}
	r.Digest = hex.EncodeToString(all.Sum(nil))
	return r, r.check(ctx, from, to, keys, sums, o.DryRun)
}

// one copies one value and returns what it is.
func (r *Report) one(ctx context.Context, from, to certmagic.Storage, key string, dry bool) (sum [sha256.Size]byte, err error) {
	value, err := from.Load(ctx, key)
	if err != nil {
		return sum, fmt.Errorf("the source: reading %s: %w", key, err)
	}
	sum = sha256.Sum256(value)
	r.Bytes += int64(len(value))
	has, err := to.Load(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return sum, fmt.Errorf("the target: reading %s: %w", key, err)
	case bytes.Equal(has, value):
		r.Same++
		return sum, nil
	default:
		newer, err := newerThere(ctx, from, to, key, value, has)
		if err != nil {
			return sum, err
		}
		if newer {
			r.Newer = append(r.Newer, key)
			return sum, nil
		}
	}
	r.Copied++
	if dry {
		return sum, nil
	}
	if err := to.Store(ctx, key, value); err != nil {
		return sum, fmt.Errorf("the target: writing %s: %w", key, err)
	}
	return sum, nil
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
func (r *Report) check(ctx context.Context, from, to certmagic.Storage, keys []string, sums [][sha256.Size]byte, dry bool) error {
	if dry {
		return nil
	}
	again, err := list(ctx, from)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	if !slices.Equal(keys, again) {
		return fmt.Errorf("the source has %d values now and had %d: something writes to it; stop the gateway and copy again", len(again), len(keys))
	}
	for i, k := range keys {
		value, err := from.Load(ctx, k)
		if err != nil {
			return fmt.Errorf("the source: reading %s again: %w", k, err)
		}
		if sha256.Sum256(value) != sums[i] {
			return fmt.Errorf("the source: %s has changed meanwhile: stop the gateway and copy again", k)
		}
		if _, left := slices.BinarySearch(r.Newer, k); left {
			continue
		}
		value, err = to.Load(ctx, k)
		if err != nil {
			return fmt.Errorf("the target: reading %s again: %w", k, err)
		}
		if sha256.Sum256(value) != sums[i] {
			return fmt.Errorf("the target: %s is not what was written: something writes to it; stop that gateway and copy again", k)
		}
	}
	return nil
}

// list returns the keys of all values, in order.
func list(ctx context.Context, s certmagic.Storage) ([]string, error) {
	all, err := s.List(ctx, "", true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing it: %w", err)
	}
	var keys []string
	for _, k := range all {
		if strings.HasPrefix(k, locksDir) {
			continue
		}
		info, err := s.Stat(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("asking for %s: %w", k, err)
		}
		if info.IsTerminal {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}
