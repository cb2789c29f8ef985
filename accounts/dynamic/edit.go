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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/storelock"
)

// editParallel are the records that one batch writes at a time: each is a
// flush to disk.
const editParallel = 8

// edit makes changes under one lock of the storage. Names must differ.
func (s *state) edit(ctx context.Context, edits []accounts.Edit) []accounts.Change {
	changes := make([]accounts.Change, len(edits))
	failAll := func(err error) []accounts.Change {
		for i := range changes {
			changes[i] = accounts.Change{Name: edits[i].Name, Err: fmt.Errorf("%w: %w", accounts.ErrUnavailable, err)}
		}
		return changes
	}
	// Within the process the lock is handed over at once; that of a storage
	// is looked at again and again.
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return failAll(context.Cause(ctx))
	}
	store := s.store()
	unlock, err := storelock.Lock(ctx, store, lockName, 4*storageTimeout)
	if err != nil {
		return failAll(err)
	}
	// What has begun is finished, so that the journal tells of it.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*storageTimeout)
	defer cancel()
	defer func() {
		if err := unlock(); err != nil {
			s.logger.Load().Error("unlocking the accounts in the storage: " + err.Error())
		}
	}()
	j, err := s.loadJournal(end)
	if err != nil {
		return failAll(err)
	}

	var wg sync.WaitGroup
	slots := make(chan struct{}, editParallel)
	for i := range edits {
		if err := ctx.Err(); err != nil {
			changes[i] = accounts.Change{Name: edits[i].Name, Err: fmt.Errorf("%w: %w", accounts.ErrUnavailable, err)}
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			changes[i] = s.change(end, edits[i])
			<-slots
		})
	}
	wg.Wait()

	var keys []string
	for i := range changes {
		if changes[i].Changed && !edits[i].Dry {
			keys = append(keys, strings.TrimPrefix(storageKey(edits[i].Name), prefix+"/"))
		}
	}
	if len(keys) > 0 {
		s.writeJournal(end, j, keys)
	}
	return changes
}

// writeJournal tells other processes. When it fails, they see the changes at
// their next full scan only.
func (s *state) writeJournal(ctx context.Context, j journal, keys []string) {
	before := journalPos{j.Epoch, j.Rev}
	if j.Epoch == "" {
		j = journal{Epoch: newRevision()}
	}
	j.Keys = append(j.Keys, keys...)
	if n := len(j.Keys) - journalLen; n > 0 {
		j.Keys = j.Keys[n:]
	}
	j.Rev += uint64(len(keys))
	blob, err := json.Marshal(j)
	if err == nil {
		err = s.store().Store(ctx, journalKey, blob)
	}
	if err == nil {
		err = s.announce(ctx)
	}
	if err != nil {
		s.logger.Load().Error("telling other processes of changed accounts: " + err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.complete && s.pos == before {
		s.pos = journalPos{j.Epoch, j.Rev}
	}
}

// change makes one change.
func (s *state) change(ctx context.Context, e accounts.Edit) accounts.Change {
	c := accounts.Change{Name: e.Name}
	fail := func(err error) accounts.Change {
		c.Err = err
		return c
	}
	if err := accounts.CheckName(e.Name); err != nil {
		return fail(&accounts.FieldError{Field: "name", Err: err})
	}
	key := storageKey(e.Name)
	unlock, err := s.lockKey(ctx, key)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", accounts.ErrUnavailable, err))
	}
	defer unlock()

	var old *accounts.Record
	var oldAccount *accounts.Account
	blob, err := s.store().Load(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.forget(key)
	case err != nil:
		return fail(fmt.Errorf("%w: %w", accounts.ErrUnavailable, err))
	default:
		s.apply(key, blob)
		oldAccount, err = s.openForEdit(e.Name, key, blob)
		if err != nil {
			return fail(err)
		}
		old = &oldAccount.Record
	}
	if err := e.Condition.Check(oldAccount); err != nil {
		return fail(err)
	}
	updated, err := e.Update(old)
	if err != nil {
		return fail(err)
	}
	if updated == nil {
		if old == nil {
			return c
		}
		if e.Dry {
			c.Changed = true
			return c
		}
		if err := s.store().Delete(ctx, key); err != nil {
			return fail(fmt.Errorf("%w: %w", accounts.ErrUnavailable, err))
		}
		s.forget(key)
		c.Changed = true
		return c
	}
	if accounts.FoldName(updated.Name) != accounts.FoldName(e.Name) {
		return fail(&accounts.FieldError{Account: e.Name, Field: "name", Err: errors.New("cannot be changed: add another account and delete this one")})
	}
	a, err := accounts.Compile(*updated, "dynamic")
	if err != nil {
		return fail(err)
	}
	data, err := accounts.EncodeRecord(*updated)
	if err != nil {
		return fail(&accounts.FieldError{Account: e.Name, Err: err})
	}
	if old != nil {
		if was, err := accounts.EncodeRecord(*old); err == nil && bytes.Equal(was, data) {
			c.Account = a.Stored(oldAccount.Revision())
			return c
		}
	}
	if e.Dry {
		c.Account, c.Changed, c.Created = a, true, old == nil
		return c
	}
	a = a.Stored(newRevision())
	sealed, err := s.seal.seal(key, a.Revision(), data)
	if err != nil {
		return fail(err)
	}
	if err := s.store().Store(ctx, key, sealed); err != nil {
		return fail(fmt.Errorf("%w: %w", accounts.ErrUnavailable, err))
	}
	s.apply(key, sealed)
	c.Account, c.Changed, c.Created = a, true, old == nil
	return c
}

// openForEdit is open for a record that may be bad: what cannot be opened stays
// for whoever has the right key, but what is merely wrong can be changed. The
// account is not compiled: its mailbox is the one that was configured.
func (s *state) openForEdit(name, key string, blob []byte) (*accounts.Account, error) {
	data, revision, err := s.seal.open(key, blob)
	if err != nil {
		return nil, err
	}
	r, err := accounts.DecodeRecord(data)
	if err != nil || storageKey(r.Name) != key {
		r = accounts.Record{Name: name}
	}
	return (&accounts.Account{Record: r, Source: "dynamic"}).Stored(revision), nil
}
