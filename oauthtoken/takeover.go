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

package oauthtoken

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// takeOver looks for the record that an earlier version kept under the name
// of the account that asks, and makes it the mailbox's. Where the mailbox has
// one already, the better of the two is used, and the other is kept until that
// one has proved good.
//
// The mailbox's record is locked before the account's. Two names that are each
// other's mailbox would wait for each other, so the second lock is not waited for.
func (r *refresh) takeOver(ctx context.Context) error {
	name := r.f.account
	if name == "" || name == r.e.subject {
		return nil
	}
	r.e.mu.Lock()
	looked := r.e.lookedAt[name]
	r.e.mu.Unlock()
	if looked {
		return nil
	}
	key := tokenstore.StorageKey(r.m.name, name)
	old, err := r.p.records.Load(ctx, key)
	if err != nil || old == nil || old.Mailbox != "" || key == r.key {
		if err != nil {
			// It is no worse than before, and the mailbox's own may do.
			r.p.logger.Error("looking for the account's token of an earlier version", zap.String("account", name), zap.Error(err))
		}
		r.lookedAt(name)
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, lockAtOnce)
	err = r.p.records.Store.Lock(soon, key)
	cancel()
	if err != nil {
		if r.rec.RefreshToken != "" {
			return nil // the next refresh looks again
		}
		return tokenstore.StoreError("locking", err)
	}
	defer r.p.unlock(key)
	if old, err = r.p.records.Load(ctx, key); err != nil || old == nil || old.Mailbox != "" {
		return err
	}
	if !r.rec.Took(name, old) {
		n := tokenstore.Merge(r.rec, old, name)
		n.Seq = max(r.rec.Seq, old.Seq) + 1
		n.Subject, n.Mailbox, n.Provider = r.e.subject, r.e.subject, r.m.name
		n.Take(name, old)
		if err := r.save(n); err != nil {
			return err
		}
	}
	if err := r.p.records.Delete(ctx, key); err != nil {
		return err
	}
	// The next write of the record forgets it.
	n := r.rec.Clone()
	delete(n.Taken, name)
	r.set(n)
	r.lookedAt(name)
	r.m.abandon(name, r.e)
	r.p.logger.Info("the account's stored token is the mailbox's now", zap.String("account", name), zap.String("mailbox", r.e.subject))
	return nil
}

func (r *refresh) lookedAt(name string) {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if r.e.lookedAt == nil {
		r.e.lookedAt = map[string]bool{}
	}
	r.e.lookedAt[name] = true
}

// abandon forgets the entry that the record of an earlier version had.
func (m *manager) abandon(subject string, not *entry) {
	e := m.entries.get(subject)
	if e == nil || e == not {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil || e.rec == nil || e.rec.Mailbox != "" {
		return
	}
	m.setState(e, stateNone)
	m.sched.set(e, time.Time{})
	m.entries.remove(e)
}

// promote takes a spare consent in place of one that has ended.
func (r *refresh) promote() bool {
	for len(r.rec.Spares) > 0 {
		s := r.rec.Spares[0]
		n := r.rec.Clone()
		n.Spares = n.Spares[1:]
		if s.ClientID != "" && s.ClientID != r.p.ClientID {
			r.rec = n
			continue
		}
		n.RefreshToken, n.ClientID, n.Seeds = s.RefreshToken, s.ClientID, tokenstore.JoinSeeds(n.Seeds, s.Seeds)
		n.AccessToken, n.Expiry, n.Access, n.Failed, n.Owner = "", time.Time{}, nil, nil, nil
		r.rec, r.use, r.fresh = n, s.RefreshToken, false
		return true
	}
	return false
}
