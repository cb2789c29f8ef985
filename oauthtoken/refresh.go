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
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// lockAtOnce is how long a refresh waits for the lock of a record while it
// holds a slot of the gate. Normally nothing else has it; if another process
// has, it may take seconds, and other grants shall have the slot meanwhile.
const lockAtOnce = 250 * time.Millisecond

// refresh is one refresh of a grant whose refresh token may be rotated: lock,
// read again, ask, write, use.
type refresh struct {
	m *manager
	p *served
	e *entry
	f *flight
	l *lease

	key string
	was uint64             // the number of the record in the store, 0 without one
	rec *tokenstore.Record // the newest record known

	use   string // the refresh token that is sent
	fresh bool   // it is a configured seed that the record does not descend from
	sent  time.Time
	room  *tokenstore.Room // held for the new record
}

func newRefresh(m *manager, p *served, e *entry, f *flight, l *lease) *refresh {
	return &refresh{m: m, p: p, e: e, f: f, l: l, key: tokenstore.StorageKey(m.name, e.subject)}
}

// run is the order of the steps. Without a token and an error there was
// nothing to do.
func (r *refresh) run(ctx context.Context) (*grantToken, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.p.unlock(r.key)
	if gt, err := r.reconcile(ctx); err != nil || gt != nil && !r.f.force {
		return gt, err
	}
	if err := r.takeOver(ctx); err != nil {
		return nil, err
	}
	if r.f.kind == flightSave {
		return nil, nil
	}
	if err := r.choose(); err != nil {
		return nil, err
	}
	if gt, ok := r.adopt(); ok {
		return gt, nil
	}
	if err := r.hold(ctx); err != nil {
		return nil, err
	}
	defer r.giveBack()
	answer, err := r.ask(ctx)
	if err != nil {
		return nil, r.refused(err)
	}
	return r.keep(answer)
}

// lock takes the record's lock across processes.
func (r *refresh) lock(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, lockAtOnce)
	err := r.p.records.Store.Lock(soon, r.key)
	waited := soon.Err() != nil
	cancel()
	if err != nil && (waited || errors.Is(err, context.DeadlineExceeded)) {
		r.l.give()
		err = r.p.records.Store.Lock(ctx, r.key)
	}
	if err != nil {
		return tokenstore.StoreError("locking", err)
	}
	r.f.held = r.p.records.Held(r.key)
	return nil
}

func (p *served) unlock(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenstore.SaveTimeout)
	defer cancel()
	if err := p.records.Store.Unlock(ctx, key); err != nil {
		p.logger.Warn("unlocking the token store", zap.Error(tokenstore.StoreError("unlocking", err)))
	}
}

// load reads the record. One that is damaged counts as none where there is
// something to replace it with: a configured seed, or what memory holds.
func (r *refresh) load(ctx context.Context) (*tokenstore.Record, error) {
	stored, err := r.p.records.Load(ctx, r.key)
	if err == nil {
		if stored != nil {
			r.was = stored.Seq
		}
		return stored, nil
	}
	// Without knowing what is stored, a request might spend a token that
	// another process has rotated.
	e := authserver.AsError(err, authserver.ClassStore)
	r.e.mu.Lock()
	known := r.e.unsaved != nil || r.e.rec != nil && r.e.rec.RefreshToken != ""
	r.e.mu.Unlock()
	if e.Class != authserver.ClassDamaged || r.f.seed == "" && !known {
		return nil, e
	}
	r.p.logger.Error("token record is damaged; it is set aside and replaced", zap.String("account", r.e.subject), zap.Error(e))
	if err := r.p.records.Clear(ctx, r.key); err != nil {
		return nil, err
	}
	return nil, nil
}

// reconcile finds out which record is the newest: the store's, the one in
// memory, or one that could not be stored so far. If the latter's access
// token is still good once the record is stored, it is returned.
func (r *refresh) reconcile(ctx context.Context) (*grantToken, error) {
	stored, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	e := r.e
	e.mu.Lock()
	mem, unsaved, pending, pendingFor := e.rec, e.unsaved, e.pending, e.pendingFor
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
			unsaved = unsaved.Clone()
			unsaved.Seq = stored.Seq + 1
		}
	}
	if unsaved != nil {
		if err := r.save(unsaved); err != nil {
			r.logStore(err)
			return nil, err
		}
		e.mu.Lock()
		e.unsaved, e.pending = nil, nil
		e.setRecord(unsaved)
		same := e.rec.SeedIs(r.f.seed) == tokenstore.SeedCurrent && pendingFor == r.f.scopes.key
		e.mu.Unlock()
		if pending != nil && same && time.Until(unsaved.Expiry) > softMargin(pending.Lifetime) {
			r.f.result = resultStored
			return newGrantToken(r.p, pending.AccessToken, r.f.seed, unsaved.LastRefresh, unsaved.Expiry), nil
		}
		return nil, nil
	}
	if stored == nil && mem != nil && mem.Mailbox == "" && r.f.account == "" {
		// A record of an earlier version, which its mailbox has taken over
		// since: what is remembered of it is no longer this grant's.
		e.mu.Lock()
		e.rec = nil
		e.mu.Unlock()
		mem = nil
	}
	rec := stored
	if mem != nil && (rec == nil || rec.Seq < mem.Seq) {
		// The store was emptied, restored from a copy, or is another one.
		rec = mem
	}
	if rec == nil {
		rec = &tokenstore.Record{Subject: e.subject}
	}
	r.set(rec)
	return nil, nil
}

// set makes rec the newest record known.
func (r *refresh) set(rec *tokenstore.Record) {
	r.rec = rec
	r.e.mu.Lock()
	r.e.setRecord(rec)
	r.e.mu.Unlock()
}

// save writes rec, which is then the newest.
func (r *refresh) save(rec *tokenstore.Record) error {
	if err := r.p.records.Swap(r.key, rec, r.was); err != nil {
		return err
	}
	r.was, r.rec = rec.Seq, rec
	return nil
}

// settle is save for what a refresh brought.
func (r *refresh) settle(rec *tokenstore.Record) error {
	if err := r.p.records.Settle(r.key, rec, r.was, r.f.seed); err != nil {
		return err
	}
	r.was, r.rec = rec.Seq, rec
	return nil
}

// choose picks the refresh token to use, or says why none is to be used now.
func (r *refresh) choose() error {
	rec, f := r.rec, r.f
	rel := rec.SeedIs(f.seed)
	dead := rec.Failed != nil && rec.Failed.ClientID == r.p.ClientID
	ended := dead && rec.Failed.Err().Final()
	if f.seed != "" && (rel == tokenstore.SeedNew || rec.RefreshToken == "" || rel == tokenstore.SeedOld && ended) {
		if err := rec.Refuses(f.seed, r.p.ClientID); err != nil && !r.mayAsk(err) {
			return err
		}
		r.use, r.fresh = f.seed, true
		return nil
	}
	if rec.RefreshToken == "" {
		return &authserver.Error{Code: "no_refresh_token", Description: "there is no consent yet", Class: authserver.ClassReauth}
	}
	if dead {
		if err := rec.Failed.Err(); !r.mayAsk(err) {
			return err
		}
	}
	r.use = rec.RefreshToken
	return nil
}

// mayAsk reports whether the server is asked again after it refused. This
// process asks once under each configuration, then at growing intervals, and
// at any time when it is told to; after a final refusal only then.
func (r *refresh) mayAsk(refused *authserver.Error) bool {
	if r.f.again {
		return true
	}
	if refused.Final() {
		return false
	}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	s := r.f.scopes
	return s.failedUnder != r.p || !time.Now().Before(s.askAfter)
}

// adopt uses what another process, or this one before its restart, has
// obtained. With ok and no token there is nothing to do.
func (r *refresh) adopt() (gt *grantToken, ok bool) {
	f, s := r.f, r.f.scopes
	if r.fresh || f.force || f.kind == flightRetry {
		return nil, false
	}
	now := time.Now()
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	if f.kind == flightKeepAlive {
		if at := r.m.keepAliveAt(r.p, r.e); now.Before(at) {
			f.result = resultAdopted
			return nil, true
		}
		return nil, false
	}
	access, obtained, expiry := r.rec.AccessFor(s.key)
	if access == "" || s.wasRejected(access) || expiry.Sub(now) <= softMargin(expiry.Sub(obtained)) {
		return nil, false
	}
	gt = newGrantToken(r.p, access, f.seed, obtained, expiry)
	if c := s.cur.Load(); f.kind == flightAhead && c != nil && (gt.expiry <= c.expiry || gt.refreshAt <= now.UnixNano()) {
		return nil, false
	}
	f.result = resultAdopted
	return gt, true
}

// ask sends the token request. If it is refused for good, the token of
// another process, or another consent of the mailbox, is tried.
func (r *refresh) ask(ctx context.Context) (*authserver.TokenResponse, error) {
	answer, err := r.post(ctx)
	if err == nil || authserver.AsError(err, authserver.ClassTemporary).Class != authserver.ClassReauth {
		return answer, err
	}
	// Locks are not perfect (a stale one is broken): another process may
	// have rotated the token under our hands.
	if again, lerr := r.p.records.Load(ctx, r.key); lerr == nil && again != nil && again.Seq > r.rec.Seq {
		r.rec, r.was = again, again.Seq
		if again.RefreshToken != "" && again.RefreshToken != r.use && again.Failed == nil {
			r.use, r.fresh = again.RefreshToken, false
			answer, err = r.post(ctx)
		}
	}
	for err != nil && authserver.AsError(err, authserver.ClassTemporary).Final() && !r.fresh && r.promote() {
		answer, err = r.post(ctx)
	}
	return answer, err
}

func (r *refresh) post(ctx context.Context) (*authserver.TokenResponse, error) {
	r.sent = time.Now()
	return r.m.post(ctx, r.p, r.e.subject, r.use, r.f, r.l)
}

// refused notes that the server refuses the grant, so that a restart knows.
// If it was a new seed that was refused, what is stored belongs to another
// consent and stays. What was refused for other scopes than the provider's own
// says nothing of the grant, unless it has ended.
func (r *refresh) refused(err error) error {
	refused := authserver.AsError(err, authserver.ClassTemporary)
	r.f.asked = true
	if t := refused.Rotated(); t != "" && t != r.use {
		if _, serr := r.keep(&authserver.TokenResponse{RefreshToken: t}); serr != nil {
			return serr
		}
		return refused
	}
	if refused.Class != authserver.ClassReauth || r.f.scopes.key != "" && !refused.Final() {
		return refused
	}
	n := r.rec.Clone()
	n.Seq++
	r.name(n)
	why := tokenstore.RecordError{
		Code: refused.Code, Reason: refused.Reason, Description: refused.Description, Subtype: refused.Subtype,
		ClientID: r.p.ClientID, At: time.Now(),
	}
	if r.fresh {
		n.Refused = &tokenstore.RefusedSeed{Seed: tokenstore.Fingerprint(r.f.seed), RecordError: why}
	} else {
		n.Failed = &why
		if refused.Final() {
			n.AccessToken, n.Expiry, n.Access = "", time.Time{}, nil
		}
	}
	if serr := r.save(n); serr != nil {
		r.logStore(serr)
	}
	r.set(n)
	return refused
}

// name says in a record whose it is. A record of an earlier version that lies
// where its account has the mailbox's name stays one until the account asks:
// only then it is certain that it is this mailbox's.
func (r *refresh) name(n *tokenstore.Record) {
	if n.Mailbox == "" && n.RefreshToken != "" && !r.fresh && r.was != 0 && strings.ToLower(r.f.account) != r.e.subject {
		return
	}
	n.Subject, n.Mailbox, n.Provider = r.e.subject, r.e.subject, r.m.name
}

// keep stores what a refresh brought. A rotated refresh token is durable
// before its access token goes to any caller.
func (r *refresh) keep(t *authserver.TokenResponse) (*grantToken, error) {
	n, err := r.next(t, true)
	if err != nil {
		return nil, err
	}
	err = r.settle(n)
	for try := 0; err != nil && try < 3; try++ {
		if !r.spend() {
			time.Sleep(authserver.Backoff(100*time.Millisecond, time.Second, max(1, try)))
		}
		if n, err = r.next(t, false); err != nil {
			return nil, err
		}
		err = r.settle(n)
	}
	e := r.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		r.logStore(err)
		if n.RefreshToken != r.use {
			// The only copy of the valid token. It stays in memory, and
			// writing it is tried until it works.
			e.unsaved, e.pending, e.pendingFor = n, t, r.f.scopes.key
			return nil, err
		}
		// Nothing is lost that the store or the configuration lacks.
	}
	e.setRecord(n)
	return newGrantToken(r.p, t.AccessToken, r.f.seed, r.sent, r.sent.Add(t.Lifetime)), nil
}

// next makes the record that follows from an answer, for the first write or another.
func (r *refresh) next(t *authserver.TokenResponse, first bool) (*tokenstore.Record, error) {
	rec := r.rec
	// The lock may have been taken for stale meanwhile.
	if again := r.p.records.Newer(r.key, rec.Seq, first); again != nil {
		if again.Consent.After(rec.Consent) && !r.fresh {
			// A new consent, which must not be overwritten.
			r.set(again)
			return nil, &authserver.Error{Description: "the account was logged in anew during the refresh"}
		}
		r.was = again.Seq
		rec = rec.Clone()
		rec.Seq = again.Seq
	}
	n := rec.Clone()
	n.Seq++
	r.name(n)
	n.ClientID, n.RefreshToken = r.p.ClientID, r.use
	if t.RefreshToken != "" && t.RefreshToken != r.use {
		n.RefreshToken, n.Rotates = t.RefreshToken, true
	}
	if r.fresh {
		n.Consent, n.Login, n.RefreshExpires, n.Owner = r.sent, false, time.Time{}, nil
		n.AccessToken, n.Expiry, n.Access = "", time.Time{}, nil
	}
	if r.f.seed != "" && (r.fresh || len(n.Seeds) == 0) {
		n.AddSeed(r.f.seed)
	}
	if t.RefreshExpires > 0 {
		n.RefreshExpires = r.sent.Add(t.RefreshExpires)
	}
	n.SetAccess(r.f.scopes.key, t.AccessToken, r.sent, r.sent.Add(t.Lifetime))
	n.LastRefresh = r.sent
	if u := r.e.lastUsed(); u != 0 {
		n.LastUsed = time.Unix(0, u)
	}
	n.Failed, n.Spares = nil, nil
	if r.fresh {
		n.Refused = nil
	}
	return n, nil
}

func (r *refresh) logStore(err error) {
	r.p.logger.Error("token store failed; the account's newest refresh token may be in memory only until it works again",
		zap.String("account", r.e.subject), zap.Error(err))
}
