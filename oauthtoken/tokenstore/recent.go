// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package tokenstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"
)

// Hasty is a Store that can also keep what may be lost with the machine, sooner
// than what may not.
type Hasty interface {
	// SaveSoon saves a value that other processes see when it returns, and that a
	// crash of the system may lose or damage.
	SaveSoon(ctx context.Context, key string, value []byte) error
}

// recentFor is how long a record is not written durably while nothing changes
// but access tokens and the times of their use.
const recentFor = 24 * time.Hour

// recentKey is where a record lies that is newer than the durable one.
func recentKey(key string) string { return Beside(key, "recent") }

// hasty returns nil where the store has no quicker way.
func (s *StorageStore) hasty() Hasty {
	if s.locks == nil {
		return nil
	}
	return localFiles{s.locks.storage}
}

// localFiles are files of this machine.
type localFiles struct{ storage *certmagic.FileStorage }

// SaveSoon implements Hasty. What is not there yet is written where it belongs: who
// reads it half written takes it for nothing, as a moment before. What is there is
// replaced as a whole.
func (l localFiles) SaveSoon(_ context.Context, key string, value []byte) error {
	name := l.storage.Filename(key)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // a path of the storage
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = os.MkdirAll(filepath.Dir(name), 0o700); err == nil {
			f, err = os.CreateTemp(filepath.Dir(name), "")
		}
	case errors.Is(err, fs.ErrExist):
		f, err = os.CreateTemp(filepath.Dir(name), "")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err = errors.Join(err, f.Close()); err == nil && f.Name() != name {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// maySettleLater reports whether a record that follows base, which is the durable
// one or nil, needs not be durable at once: the consent in it is durable already,
// in base or as the seed in the configuration, and if it is lost, nothing is lost
// but an access token.
func (r *Record) maySettleLater(base *Record, seed string) bool {
	switch {
	case r.Failed != nil || r.Refused != nil:
		return false
	case base == nil:
		return !r.Login && seed != "" && r.RefreshToken == seed && len(r.Spares) == 0 && len(r.Taken) == 0 && r.LastRefresh.Sub(r.Consent) < recentFor
	}
	return r.LastRefresh.Sub(base.LastRefresh) < recentFor && bytes.Equal(r.lasting(), base.lasting())
}

// lasting is what of a record a crash must not take back: all but its number, its
// access tokens and when they were obtained and used.
func (r *Record) lasting() []byte {
	c := *r
	c.Version, c.Seq, c.Follows = 0, 0, 0
	c.AccessToken, c.Expiry, c.Obtained, c.Access = "", time.Time{}, time.Time{}, nil
	c.LastRefresh, c.LastUsed = time.Time{}, time.Time{}
	b, _ := json.Marshal(&c) // of strings, times and numbers
	return b
}

// loadRecent returns the record that is newer than base, if there is one. One
// that is damaged, or follows another record than base, counts as none.
func (r *Records) loadRecent(ctx context.Context, key string, base *Record) *Record {
	if r.hasty == nil {
		return nil
	}
	b, err := r.Store.Load(ctx, recentKey(key))
	if err != nil {
		return nil
	}
	rec, err := DecodeRecord(r.Seal, recentKey(key), b)
	if err != nil || rec.placed(key) != nil || rec.Follows != base.seq() {
		return nil
	}
	return rec
}

// seq is the record's number; that of none is 0.
func (r *Record) seq() uint64 {
	if r == nil {
		return 0
	}
	return r.Seq
}

// Settle writes a record as Swap does. Where nothing in it is lost with the
// machine that the durable record, or the configured seed, does not hold, it is
// written beside it, which costs a fraction.
func (r *Records) Settle(key string, rec *Record, was uint64, seed string) error {
	if r.hasty == nil {
		return r.Swap(key, rec, was)
	}
	ctx, cancel := context.WithTimeout(context.Background(), SaveTimeout)
	defer cancel()
	base, err := r.loadBase(ctx, key)
	if err != nil || !rec.maySettleLater(base, seed) {
		return r.Swap(key, rec, was)
	}
	n := rec.Clone()
	n.Follows = base.seq()
	b, err := EncodeRecord(r.Seal, recentKey(key), n)
	if err == nil {
		err = r.hasty.SaveSoon(ctx, recentKey(key), b)
	}
	if err != nil {
		return StoreError("writing", err)
	}
	return nil
}

// Delete removes a record.
func (r *Records) Delete(ctx context.Context, key string) error {
	err := r.Store.Delete(ctx, key)
	if r.hasty != nil {
		err = errors.Join(err, r.Store.Delete(ctx, recentKey(key)))
	}
	if err != nil {
		return StoreError("deleting from", err)
	}
	return nil
}

// isRecord reports whether a key is a record's. What else is among them is a file that
// has not got its name yet, and will not if its process was killed.
func isRecord(key string) bool { return len(path.Base(key)) == 2*sha256.Size }

// Keys are the keys of a provider's records.
func (r *Records) Keys(ctx context.Context, provider string) ([]string, error) {
	dir := path.Dir(StorageKey(provider, ""))
	keys, err := r.Store.List(ctx, dir)
	keys = slices.DeleteFunc(keys, func(key string) bool { return !isRecord(key) })
	if err != nil || r.hasty == nil {
		return keys, err
	}
	recent, err := r.Store.List(ctx, recentKey(dir))
	if err != nil {
		return keys, err
	}
	have := make(map[string]bool, len(keys))
	for _, k := range keys {
		have[k] = true
	}
	for _, k := range recent {
		if k = dir + "/" + path.Base(k); isRecord(k) && !have[k] {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
