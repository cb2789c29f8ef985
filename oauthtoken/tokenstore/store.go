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
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

func init() {
	caddy.RegisterModule(StorageStore{})
}

// Store keeps what must outlive the process. Its keys are paths. Guest
// modules in the namespace oauth_tokens.stores implement it.
type Store interface {
	// Load returns the value, or an error that wraps fs.ErrNotExist.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save is durable when it returns nil.
	Save(ctx context.Context, key string, value []byte) error
	// Delete removes the value, if there is one.
	Delete(ctx context.Context, key string) error
	// List returns the keys below a prefix.
	List(ctx context.Context, prefix string) ([]string, error)
	// Lock excludes other processes. It waits no longer than ctx.
	Lock(ctx context.Context, key string) error
	// Unlock gives back what Lock took.
	Unlock(ctx context.Context, key string) error
}

// Swapper is a Store that can refuse to overwrite what it does not expect.
// Locks can be lost (a process that sleeps finds its lock broken); where the
// store is a Swapper, the write itself is the fence.
type Swapper interface {
	// Swap saves the value under the number seq if the stored value has the
	// number was, or if nothing is stored and was is 0; else it returns an
	// error that wraps ErrChanged. Records are written by Swap alone then.
	Swap(ctx context.Context, key string, was, seq uint64, value []byte) error
}

// ErrChanged is a record that another process has written meanwhile.
var ErrChanged = errors.New("the record was changed by another process")

// sealing is implemented by stores that have keys to seal records with.
type sealing interface{ Sealer() *Sealer }

// StorageStore keeps tokens in Caddy's storage, whichever that is.
type StorageStore struct {
	// EncryptionKeys seal the records (AES-256-GCM). Each is 32 bytes in
	// base64 or hex; placeholders such as {file./etc/mailgateway/credentials/token.key}
	// are resolved. The first seals, all of them open. Default: none,
	// records are stored in the clear.
	EncryptionKeys []string `json:"encryption_keys,omitempty"`

	storeState
}

type storeState struct {
	storage certmagic.Storage
	locks   *byteLocks // nil: the storage's own, for it is not of this machine
	seal    *Sealer
}

// use makes storage the one that the store is in.
func (s *storeState) use(storage certmagic.Storage) {
	s.storage = storage
	if f, ok := storage.(*certmagic.FileStorage); ok {
		s.locks = newByteLocks(f)
	}
}

// CaddyModule returns the Caddy module information.
func (StorageStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oauth_tokens.stores.storage",
		New: func() caddy.Module { return new(StorageStore) },
	}
}

// NewStorageStore returns a store in a storage, without keys.
func NewStorageStore(storage certmagic.Storage) *StorageStore {
	s := new(StorageStore)
	s.use(storage)
	return s
}

// Provision resolves the keys. It doesn't touch the storage.
func (s *StorageStore) Provision(ctx caddy.Context) error {
	keys := make([]string, len(s.EncryptionKeys))
	for i, k := range s.EncryptionKeys {
		v, literal, err := authserver.Resolve(k)
		if err != nil {
			return fmt.Errorf("encryption_key %d: %w", i+1, err)
		}
		if literal {
			printable.Logger(ctx.Logger()).Warn("an encryption key stands in the configuration itself, which the admin API shows; use a placeholder such as {file./path}")
		}
		keys[i] = v
	}
	var err error
	if s.seal, err = NewSealer(keys); err != nil {
		return err
	}
	s.use(ctx.Storage())
	return nil
}

// Load implements Store.
func (s *StorageStore) Load(ctx context.Context, key string) ([]byte, error) {
	return s.storage.Load(ctx, key)
}

// Save implements Store.
func (s *StorageStore) Save(ctx context.Context, key string, value []byte) error {
	return s.storage.Store(ctx, key, value)
}

// Delete implements Store.
func (s *StorageStore) Delete(ctx context.Context, key string) error {
	if !s.storage.Exists(ctx, key) {
		return nil
	}
	return s.storage.Delete(ctx, key)
}

// List implements Store.
func (s *StorageStore) List(ctx context.Context, prefix string) ([]string, error) {
	if !s.storage.Exists(ctx, prefix) {
		return nil, nil
	}
	return s.storage.List(ctx, prefix, false)
}

// Lock implements Store.
func (s *StorageStore) Lock(ctx context.Context, key string) error {
	if s.locks != nil {
		return s.locks.lock(ctx, LockName(key))
	}
	return s.storage.Lock(ctx, LockName(key))
}

// Unlock implements Store.
func (s *StorageStore) Unlock(ctx context.Context, key string) error {
	if s.locks != nil {
		return s.locks.unlock(LockName(key))
	}
	return s.storage.Unlock(ctx, LockName(key))
}

// Sealer is what seals the records.
func (s *StorageStore) Sealer() *Sealer { return s.seal }

// swapStorage is a storage that compares before it writes. It returns an error
// that wraps fs.ErrExist for a value that has another number.
type swapStorage interface {
	Swap(ctx context.Context, key string, was, seq uint64, value []byte) error
}

// storageSwapper is the Swapper of a store whose storage compares.
type storageSwapper struct{ storage swapStorage }

func (s storageSwapper) Swap(ctx context.Context, key string, was, seq uint64, value []byte) error {
	err := s.storage.Swap(ctx, key, was, seq, value)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w (key %s)", ErrChanged, key)
	}
	return err
}

// swapper returns nil where the storage cannot compare, as files cannot.
func (s *StorageStore) swapper() Swapper {
	if st, ok := s.storage.(swapStorage); ok {
		return storageSwapper{st}
	}
	return nil
}

// LockName is the lock of a record.
func LockName(key string) string { return "lock_" + key }

// Prefix is where all records are.
const Prefix = "smtp/tokens"

// StorageKey is where one account's record is.
func StorageKey(provider, subject string) string {
	sum := sha256.Sum256([]byte(subject))
	dir := certmagic.StorageKeys.Safe(provider)
	if dir != provider {
		// Two names must not come to the same directory.
		p := sha256.Sum256([]byte(provider))
		dir += "-" + hex.EncodeToString(p[:4])
	}
	return path.Join(Prefix, dir, hex.EncodeToString(sum[:]))
}

// Records reads and writes records in a store.
type Records struct {
	Store Store
	swaps Swapper // nil: the store cannot compare
	holds Holder  // nil: the store cannot tell
	hasty Hasty   // nil: the store has one way to write
	Seal  *Sealer
	// Rooms are held for records whose refresh token is rotated.
	Rooms *Rooms
}

// NewRecords returns the records of a store.
func NewRecords(s Store) *Records {
	r := &Records{Store: s, Rooms: NewRooms(s)}
	switch s := s.(type) {
	case Swapper:
		r.swaps = s
	case interface{ swapper() Swapper }:
		r.swaps = s.swapper()
	}
	switch s := s.(type) {
	case Holder:
		r.holds = s
	case interface{ holder() Holder }:
		r.holds = s.holder()
	}
	switch s := s.(type) {
	case Hasty:
		r.hasty = s
	case interface{ hasty() Hasty }:
		r.hasty = s.hasty()
	}
	if k, ok := s.(sealing); ok {
		r.Seal = k.Sealer()
	}
	return r
}

// Load returns nil without an error where there is no record.
func (r *Records) Load(ctx context.Context, key string) (*Record, error) {
	base, err := r.loadBase(ctx, key)
	if err != nil {
		return nil, err
	}
	if rec := r.loadRecent(ctx, key, base); rec != nil {
		return rec, nil
	}
	return base, nil
}

// Newer returns the record if it is newer than the one with a number. Before the
// first write it is not looked for where the write itself fails then: each question
// is time in which what is to be written is nowhere else.
func (r *Records) Newer(key string, than uint64, first bool) *Record {
	if first && r.swaps != nil {
		return nil
	}
	rec, err := r.Load(context.Background(), key)
	if err != nil || rec.seq() <= than {
		return nil
	}
	return rec
}

// loadBase reads the durable record.
func (r *Records) loadBase(ctx context.Context, key string) (*Record, error) {
	b, err := r.Store.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, StoreError("reading", err)
	}
	rec, err := DecodeRecord(r.Seal, key, b)
	if err == nil {
		err = rec.placed(key)
	}
	switch {
	case errors.Is(err, errDamaged):
		return nil, &authserver.Error{
			Code: "damaged_record", Description: "reading the token store: " + authserver.OneLine(err.Error()) + " (key " + key + ")",
			Class: authserver.ClassDamaged, Err: err,
		}
	case err != nil:
		return nil, StoreError("reading", err)
	}
	return rec, nil
}

// setAside keeps the bytes of a record that is about to be replaced and cannot
// be read, for an operator to look at.
func (r *Records) setAside(ctx context.Context, key string) error {
	b, err := r.Store.Load(ctx, key)
	if err == nil {
		err = r.Store.Save(ctx, Beside(key, "damaged"), b)
	}
	if err != nil {
		return StoreError("setting aside in", err)
	}
	return nil
}

// Clear sets a damaged record aside and makes its place free.
func (r *Records) Clear(ctx context.Context, key string) error {
	if err := r.setAside(ctx, key); err != nil {
		return err
	}
	if err := r.Store.Delete(ctx, key); err != nil {
		return StoreError("deleting from", err)
	}
	return nil
}

// Beside is a key that belongs to another one and is not in its directory.
func Beside(key, what string) string {
	return Prefix + "-" + what + strings.TrimPrefix(key, Prefix)
}

// SaveTimeout bounds one write. It has nothing to do with whoever waits for
// the token: once a token was rotated its record has to be written.
const SaveTimeout = 30 * time.Second

// Swap writes a record. It fails with ErrChanged if the store can tell that the
// one in it is no longer the one with the number was.
func (r *Records) Swap(key string, rec *Record, was uint64) error {
	if rec.Follows != 0 {
		rec = rec.Clone()
		rec.Follows = 0
	}
	b, err := EncodeRecord(r.Seal, key, rec)
	if err != nil {
		return StoreError("writing", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), SaveTimeout)
	defer cancel()
	if r.swaps != nil {
		err = r.swaps.Swap(ctx, key, was, rec.Seq, b)
	} else {
		err = r.Store.Save(ctx, key, b)
	}
	if err != nil {
		return StoreError("writing", err)
	}
	if r.hasty != nil {
		// What is left of it counts no more: it follows another record.
		_ = r.Store.Delete(ctx, recentKey(key))
	}
	return nil
}

// StoreError is the error of a store that failed.
func StoreError(doing string, err error) *authserver.Error {
	if e, ok := errors.AsType[*authserver.Error](err); ok && e.Class == authserver.ClassDamaged {
		return e
	}
	return &authserver.Error{Description: doing + " the token store: " + authserver.OneLine(err.Error()), Class: authserver.ClassStore, Err: err}
}

// Interface guards
var (
	_ caddy.Module      = (*StorageStore)(nil)
	_ caddy.Provisioner = (*StorageStore)(nil)
	_ Store             = (*StorageStore)(nil)
	_ sealing           = (*StorageStore)(nil)
)
