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
	"errors"
	"time"

	"go.uber.org/zap"
)

// lockAtOnce is how long a flight waits for the lock of a record while it
// holds a slot of the gate. Normally nobody else has it; if somebody has, it
// may take seconds, and other accounts shall have the slot meanwhile.
const lockAtOnce = 250 * time.Millisecond

// refreshStored refreshes a token whose refresh token may be rotated: lock,
// read again, refresh, write, use.
func (m *manager) refreshStored(ctx context.Context, p *Provider, e *entry, f *flight, l *lease) (*grantToken, *Error) {
	key := storageKey(m.name, e.subject)
	if err := m.lock(ctx, p, key, l); err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
		defer cancel()
		if err := p.records.store.Unlock(ctx, key); err != nil {
			p.logger.Warn("unlocking the token store", zap.Error(storeError("unlocking", err)))
		}
	}()
	stored, err := p.records.load(ctx, key)
	if err != nil {
		// Without knowing what is stored, a request might spend a token
		// that another process has rotated.
		return nil, asError(err, classStore)
	}
	rec, gt, serr := m.reconcile(p, e, f, key, stored)
	if gt != nil || serr != nil {
		return gt, serr
	}
	if f.kind == flightSave {
		return nil, nil
	}

	use, fresh, serr := m.choose(p, e, f, rec)
	if serr != nil {
		return nil, serr
	}
	if !fresh {
		if gt, ok := m.adopt(p, e, f, rec); ok {
			return gt, nil
		}
	}

	sent := time.Now()
	r, perr := m.post(ctx, p, e.subject, use, f, l)
	if perr != nil && perr.class == classReauth {
		// Locks are not perfect (a stale one is broken): another process
		// may have rotated the token under our hands.
		if again, err := p.records.load(ctx, key); err == nil && again != nil && again.Seq > rec.Seq {
			rec = again
			if again.RefreshToken != "" && again.RefreshToken != use && again.Failed == nil {
				use, fresh = again.RefreshToken, false
				sent = time.Now()
				r, perr = m.post(ctx, p, e.subject, use, f, l)
			}
		}
	}
	if perr != nil {
		if perr.class == classReauth {
			m.markFailed(p, e, f, key, rec, fresh, perr)
		}
		return nil, perr
	}
	return m.keep(p, e, f, key, rec, r, use, fresh, sent)
}

// lock takes the record's lock across processes.
func (m *manager) lock(ctx context.Context, p *Provider, key string, l *lease) *Error {
	soon, cancel := context.WithTimeout(ctx, lockAtOnce)
	err := p.records.store.Lock(soon, key)
	waited := soon.Err() != nil
	cancel()
	if err == nil {
		return nil
	}
	if !waited && !errors.Is(err, context.DeadlineExceeded) {
		return storeError("locking", err)
	}
	l.give()
	if err := p.records.store.Lock(ctx, key); err != nil {
		return storeError("locking", err)
	}
	return nil
}

// reconcile finds out which record is the newest: the store's, the one in
// memory, or one that could not be stored so far. If the latter's access
// token is still good once the record is stored, it is returned.
func (m *manager) reconcile(p *Provider, e *entry, f *flight, key string, stored *record) (*record, *grantToken, *Error) {
	e.mu.Lock()
	mem, unsaved, pending := e.rec, e.unsaved, e.pending
	e.mu.Unlock()

	if unsaved != nil && stored != nil && stored.Seq >= unsaved.Seq {
		if stored.Failed == nil {
			// Another process has refreshed since, from the token before.
			unsaved = nil
			e.mu.Lock()
			e.unsaved, e.pending = nil, nil
			e.mu.Unlock()
		} else {
			// It tried to, with the token that was spent here.
			unsaved = unsaved.clone()
			unsaved.Seq = stored.Seq + 1
		}
	}
	if unsaved != nil {
		if err := p.records.save(key, unsaved); err != nil {
			m.logStore(p, e, err)
			return nil, nil, asError(err, classStore)
		}
		e.mu.Lock()
		e.unsaved, e.pending = nil, nil
		e.setRecord(unsaved)
		same := e.rec.seedIs(f.seed) == seedCurrent
		e.mu.Unlock()
		if pending != nil && same && time.Until(unsaved.Expiry) > softMargin(pending.Lifetime) {
			f.result = resultStored
			return unsaved, newGrantToken(p, pending.AccessToken, f.seed, unsaved.LastRefresh, unsaved.Expiry), nil
		}
		return unsaved, nil, nil
	}
	rec := stored
	if mem != nil && (rec == nil || rec.Seq < mem.Seq) {
		// The store was emptied, restored from a copy, or is another one.
		rec = mem
	}
	if rec == nil {
		rec = &record{Subject: e.subject}
	}
	e.mu.Lock()
	e.setRecord(rec)
	e.mu.Unlock()
	return rec, nil, nil
}

// choose picks the refresh token to use. fresh says that it is a configured
// seed that the record does not descend from.
func (m *manager) choose(p *Provider, e *entry, f *flight, rec *record) (use string, fresh bool, err *Error) {
	rel := rec.seedIs(f.seed)
	dead := rec.Failed != nil && rec.Failed.ClientID == p.ClientID
	if f.seed != "" && (rel == seedNew || rec.RefreshToken == "" || rel == seedOld && dead) {
		if err := rec.refused(f.seed, p.ClientID); err != nil && !f.again {
			return "", false, err
		}
		return f.seed, true, nil
	}
	if rec.RefreshToken == "" {
		return "", false, &Error{Code: "no_refresh_token", Description: "there is no consent yet", class: classReauth}
	}
	if dead && !f.again {
		return "", false, rec.Failed.error()
	}
	return rec.RefreshToken, false, nil
}

// adopt uses what another process, or this one before its restart, has
// obtained. With ok and no token there is nothing to do.
func (m *manager) adopt(p *Provider, e *entry, f *flight, rec *record) (gt *grantToken, ok bool) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.kind == flightKeepAlive {
		if at := m.keepAliveAt(p, e); now.Before(at) {
			f.result = resultAdopted
			return nil, true
		}
		return nil, false
	}
	if rec.AccessToken == "" || e.wasRejected(rec.AccessToken) {
		return nil, false
	}
	life := rec.Expiry.Sub(rec.LastRefresh)
	if rec.Expiry.Sub(now) <= softMargin(life) {
		return nil, false
	}
	gt = newGrantToken(p, rec.AccessToken, f.seed, rec.LastRefresh, rec.Expiry)
	if c := e.cur.Load(); f.kind == flightAhead && c != nil && (gt.expiry <= c.expiry || gt.refreshAt <= now.UnixNano()) {
		return nil, false
	}
	f.result = resultAdopted
	return gt, true
}

// keep stores what a refresh brought. A rotated refresh token is durable
// before its access token goes to anybody.
func (m *manager) keep(p *Provider, e *entry, f *flight, key string, rec *record, r *tokenResponse, use string, fresh bool, sent time.Time) (*grantToken, *Error) {
	// The lock may have been taken for stale meanwhile: there is no fencing.
	if again, err := p.records.load(context.Background(), key); err == nil && again != nil && again.Seq > rec.Seq {
		if again.Consent.After(rec.Consent) && !fresh {
			// A new consent, which must not be overwritten.
			e.mu.Lock()
			e.setRecord(again)
			e.mu.Unlock()
			return nil, &Error{Description: "the account was logged in anew during the refresh"}
		}
		rec = rec.clone()
		rec.Seq = again.Seq
	}
	n := rec.clone()
	n.Seq++
	n.Subject, n.ClientID = e.subject, p.ClientID
	n.RefreshToken = use
	rotated := r.RefreshToken != "" && r.RefreshToken != use
	if rotated {
		n.RefreshToken = r.RefreshToken
	}
	if fresh {
		n.Consent, n.Login, n.RefreshExpires = sent, false, time.Time{}
	}
	if f.seed != "" && (fresh || len(n.Seeds) == 0) {
		n.addSeed(f.seed)
	}
	if r.RefreshExpires > 0 {
		n.RefreshExpires = sent.Add(r.RefreshExpires)
	}
	n.AccessToken, n.Expiry = r.AccessToken, sent.Add(r.Lifetime)
	n.LastRefresh = sent
	if u := e.used.Load(); u != 0 {
		n.LastUsed = time.Unix(0, u)
	}
	n.Failed = nil
	if fresh {
		n.Refused = nil
	}

	err := p.records.save(key, n)
	for try := 1; err != nil && try < 3; try++ {
		time.Sleep(backoff(100*time.Millisecond, time.Second, try))
		err = p.records.save(key, n)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		m.logStore(p, e, err)
		if rotated {
			// The only copy of the valid token. It stays in memory, and
			// writing it is tried until it works.
			e.unsaved, e.pending = n, r
			return nil, asError(err, classStore)
		}
		// Nothing is lost that the store or the configuration lacks.
	}
	e.setRecord(n)
	return newGrantToken(p, r.AccessToken, f.seed, sent, n.Expiry), nil
}

// markFailed notes that a human is needed, so that neither the next message
// nor a restart asks the server again. If it was a new seed that the server
// refused, what is stored belongs to another consent and stays.
func (m *manager) markFailed(p *Provider, e *entry, f *flight, key string, rec *record, fresh bool, err *Error) {
	n := rec.clone()
	n.Seq++
	n.Subject = e.subject
	why := recordError{Code: err.Code, Reason: err.Reason, Description: err.Description, ClientID: p.ClientID, At: time.Now()}
	if fresh {
		n.Refused = &refusedSeed{Seed: fingerprint(f.seed), recordError: why}
	} else {
		n.AccessToken, n.Expiry = "", time.Time{}
		n.Failed = &why
	}
	if serr := p.records.save(key, n); serr != nil {
		m.logStore(p, e, serr)
	}
	e.mu.Lock()
	e.setRecord(n)
	e.mu.Unlock()
}

func (r *recordError) error() *Error {
	return &Error{Code: r.Code, Reason: r.Reason, Description: r.Description, class: classReauth}
}

func (m *manager) logStore(p *Provider, e *entry, err error) {
	p.logger.Error("token store failed; the account's newest refresh token may be in memory only until it works again",
		zap.String("account", e.subject), zap.Error(err))
}
