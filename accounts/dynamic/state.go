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
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/generation"
)

const (
	// prefix is where the records lie, journalKey what says
	// which of them changed, lockName what writers hold.
	prefix     = "smtp/accounts"
	journalKey = "smtp/accounts_journal"
	lockName   = "smtp_accounts"

	// storageTimeout bounds one storage operation.
	storageTimeout = 20 * time.Second
	// stopTimeout bounds the wait for the last one at the end.
	stopTimeout = 5 * time.Second
	// loadParallel are the storage reads at a time.
	loadParallel = 4
	// maxAbsent bounds the names that are remembered as unknown while the
	// accounts are loading.
	maxAbsent = 8192
)

// state is the accounts of one storage, shared by all configurations
// that use it.
type state struct {
	seal    sealer
	index   accounts.Index
	storage atomic.Pointer[certmagic.Storage]
	logger  atomic.Pointer[zap.Logger]

	reads   chan struct{}     // a semaphore for reads of unknown names
	writer  chan struct{}     // held by who changes records
	stripes [64]chan struct{} // held while a record is read and applied

	mu       sync.Mutex
	known    map[string]knownRecord      // by storage key
	bad      map[string]accounts.Problem // by storage key
	absent   map[string]struct{}         // by storage key
	complete bool                        // all records are in known or bad
	pos      journalPos

	users  generation.Stack[*Source]
	cancel context.CancelFunc
	done   chan struct{}
	poke   chan struct{}
	told   chan struct{} // others have changed something
}

type knownRecord struct {
	key    string // the folded name
	digest [sha256.Size]byte
}

func newState(logger *zap.Logger, storage certmagic.Storage, seal sealer) *state {
	s := &state{
		seal:   seal,
		reads:  make(chan struct{}, loadParallel),
		writer: make(chan struct{}, 1),
		known:  make(map[string]knownRecord),
		bad:    make(map[string]accounts.Problem),
		absent: make(map[string]struct{}),
		poke:   make(chan struct{}, 1),
		told:   make(chan struct{}, 1),
	}
	for i := range s.stripes {
		s.stripes[i] = make(chan struct{}, 1)
	}
	s.storage.Store(&storage)
	s.logger.Store(logger)
	s.index.SetLoading(true)
	return s
}

// storageKey is where a name's record lies. Names may hold what paths must
// not, and the listing of a storage should not be a list of addresses.
func storageKey(name string) string {
	sum := sha256.Sum256([]byte(accounts.FoldName(name)))
	return prefix + "/" + hex.EncodeToString(sum[:])
}

func isStorageKey(key string) bool {
	dir, file := path.Split(key)
	return dir == prefix+"/" && len(file) == 2*sha256.Size &&
		strings.Trim(file, "0123456789abcdef") == ""
}

// start makes u the latest user: its storage is the one in use, since that of
// an earlier configuration may be closed.
func (s *state) start(u *Source) {
	s.users.Attach(u, func(first bool) {
		s.use(u)
		if first {
			ctx, cancel := context.WithCancel(context.Background())
			s.cancel, s.done = cancel, make(chan struct{})
			go s.loop(ctx, s.done)
		}
	})
}

func (s *state) use(u *Source) {
	s.storage.Store(&u.storage)
	s.logger.Store(u.logger)
}

// stop gives a failed configuration's place back to the one before it.
func (s *state) stop(u *Source) {
	s.users.Detach(u, func(now *Source, last bool) {
		if !last {
			s.use(now)
			return
		}
		s.cancel()
		// Caddy holds its configuration's lock meanwhile: a storage that
		// hangs must not hold up everything else.
		t := time.NewTimer(stopTimeout)
		defer t.Stop()
		select {
		case <-s.done:
		case <-t.C:
			u.logger.Warn("the storage does not answer, a read of accounts goes on in the background")
		}
	})
}

// Destruct implements caddy.Destructor.
func (*state) Destruct() error { return nil }

func (s *state) store() certmagic.Storage { return *s.storage.Load() }

// lockKey keeps reading and applying a record together, so that an older
// content never replaces a newer one.
func (s *state) lockKey(ctx context.Context, key string) (unlock func(), err error) {
	n := len(key)
	stripe := s.stripes[(16*hexDigit(key[n-2])+hexDigit(key[n-1]))%len(s.stripes)]
	select {
	case stripe <- struct{}{}:
		return func() { <-stripe }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func hexDigit(c byte) int {
	if c >= 'a' {
		return int(c-'a') + 10
	}
	return int(c - '0')
}

// lookup finds an account that may not be loaded yet.
func (s *state) lookup(ctx context.Context, name string) (*accounts.Account, error) {
	if name == "" {
		return nil, nil
	}
	key := storageKey(name)
	s.mu.Lock()
	problem, bad := s.bad[key]
	_, absent := s.absent[key]
	absent = absent || s.complete
	s.mu.Unlock()
	switch {
	case bad:
		return nil, accounts.ProblemError{Problem: problem}
	case absent:
		return nil, nil
	}
	select {
	case s.reads <- struct{}{}:
		defer func() { <-s.reads }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if a, ok := s.index.Get(name); ok {
		return a, nil
	}
	if err := s.refresh(ctx, key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	problem, bad = s.bad[key]
	s.mu.Unlock()
	if a, ok := s.index.Get(name); ok {
		return a, nil
	}
	if bad {
		return nil, accounts.ProblemError{Problem: problem}
	}
	return nil, nil
}

// refresh reads a record and applies what it says. Only the storage's failure
// is an error.
func (s *state) refresh(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	unlock, err := s.lockKey(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	blob, err := s.store().Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		s.forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	s.apply(key, blob)
	return nil
}

// apply takes a record's content over. The stripe of the key is held.
func (s *state) apply(key string, blob []byte) {
	digest := sha256.Sum256(blob)
	s.mu.Lock()
	known, ok := s.known[key]
	if ok && known.digest == digest {
		delete(s.bad, key) // a bad version of it was there meanwhile
		s.setLoading()
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	a, err := s.open(key, blob)

	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.absent, key)
	if err != nil {
		p := accounts.Problem{Source: "dynamic", File: key, Kept: ok, Message: err.Error()}
		if fe, ok := errors.AsType[*accounts.FieldError](err); ok {
			p.Account, p.Field, p.Message = fe.Account, fe.Field, fe.Err.Error()
		}
		if s.bad[key] != p {
			s.bad[key] = p
			if len(s.bad) <= 10 {
				s.logger.Load().Error("bad account", zap.String("key", key), zap.String("account", p.Account),
					zap.String("field", p.Field), zap.String("problem", p.Message), zap.Bool("kept", p.Kept))
			}
		}
		s.setLoading()
		return
	}
	delete(s.bad, key)
	s.known[key] = knownRecord{a.Key(), digest}
	s.index.Set(a)
	s.setLoading()
}

// forget takes note that a record is not there. The stripe of the key is held.
func (s *state) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[key]; ok {
		delete(s.known, key)
		s.index.Delete(known.key)
	}
	delete(s.bad, key)
	if !s.complete {
		if len(s.absent) >= maxAbsent {
			clear(s.absent)
		}
		s.absent[key] = struct{}{}
	}
	s.setLoading()
}

// setLoading has lookups of unknown names come here as long as the answer may
// be another than "no such account".
func (s *state) setLoading() {
	s.index.SetLoading(!s.complete || len(s.bad) > 0)
}

// open returns a stored record's account.
func (s *state) open(key string, blob []byte) (*accounts.Account, error) {
	data, revision, err := s.seal.open(key, blob)
	if err != nil {
		return nil, err
	}
	r, err := accounts.DecodeRecord(data)
	if err != nil {
		return nil, err
	}
	if storageKey(r.Name) != key {
		return nil, &accounts.FieldError{Account: r.Name, Field: "name", Err: errors.New("the record lies at another account's place")}
	}
	a, err := accounts.Compile(r, "dynamic")
	if err != nil {
		return nil, err
	}
	return a.Stored(revision), nil
}

func (s *state) problems() []accounts.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]accounts.Problem, 0, len(s.bad))
	for _, p := range s.bad {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b accounts.Problem) int { return strings.Compare(a.File, b.File) })
	return list
}

// Interface guards
var _ caddy.Destructor = (*state)(nil)
