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
	"crypto/sha256"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// loop starts what is due in the background.
func (m *manager) loop() {
	defer m.loops.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	warned := time.Now()
	for {
		now := time.Now()
		if now.Sub(warned) > 24*time.Hour {
			warned = now
			m.current.Load().LogWarnings(now)
		}
		e, wait := m.sched.next(now)
		if e != nil {
			m.due(e)
			if m.ctx.Err() != nil {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-m.sched.wake:
		case <-m.ctx.Done():
			return
		}
	}
}

// due starts the background refresh of an account. The slot is taken first:
// while there is none, the accounts wait in the schedule, not in goroutines.
func (m *manager) due(e *entry) {
	p := m.current.Load()
	e.mu.Lock()
	kind, _ := m.background(p, e, time.Now())
	e.mu.Unlock()
	if kind == flightNone {
		return
	}
	if m.gate.Acquire(m.ctx, true) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	kind, s := m.background(p, e, time.Now())
	if kind == flightNone {
		m.gate.Release(true)
		return
	}
	seed := s.failedSeed
	if c := s.cur.Load(); c != nil {
		seed = c.seed
	}
	m.startFlight(e, s, flight{kind: kind, seed: seed}, true)
}

// background says which background refresh a grant needs now, and of which
// scopes. Where there is none, it sets when to look again.
func (m *manager) background(p *served, e *entry, now time.Time) (kind flightKind, of *scoped) {
	if e.flight != nil {
		return flightNone, nil // its end looks again
	}
	if e.unsaved != nil {
		if now.Before(e.saveAfter) {
			m.sched.set(e, e.saveAfter)
			return flightNone, nil
		}
		return flightSave, &e.scoped
	}
	var next time.Time
	later := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	e.sets(func(s *scoped) bool {
		k, at := m.ahead(e, s, now)
		if k != flightNone {
			kind, of = k, s
			return false
		}
		later(at)
		return true
	})
	if kind != flightNone {
		return kind, of
	}
	if e.cur.Load() == nil {
		switch at := m.keepAliveAt(p, e); {
		case at.IsZero() || e.refused():
		case now.Before(at):
			later(at)
		case now.Before(e.blockUntil):
			later(e.blockUntil)
		default:
			return flightKeepAlive, &e.scoped
		}
	}
	if !next.IsZero() {
		m.sched.set(e, next)
	}
	return flightNone, nil
}

// ahead says what the tokens of one set of scopes need now, or when to look again.
func (m *manager) ahead(e *entry, s *scoped, now time.Time) (flightKind, time.Time) {
	var look time.Time
	n := now.UnixNano()
	if c := s.cur.Load(); c != nil && n >= c.expiry {
		s.cur.Store(nil)
		if e.state == stateOK {
			m.setState(e, e.standing())
		}
	} else if c != nil {
		switch {
		case n < c.refreshAt:
			look = time.Unix(0, c.refreshAt)
		// A token that was not used in the second half of its time is left
		// alone; the next use finds it expired, or nudges.
		case s.refused() || s.used.Load() < c.obtained+(c.refreshAt-c.obtained)/2:
			if !s.refused() {
				c.nudged.Store(false)
			}
			look = time.Unix(0, c.expiry)
		case now.Before(s.blockUntil):
			look = s.blockUntil
		default:
			return flightAhead, time.Time{}
		}
	}
	// A refusal that may be lifted is asked about without waiting for the
	// next message, so that the state is true and an idle consent survives.
	if s.refused() && !s.askAfter.IsZero() && !s.lastErr.Final() {
		if !now.Before(s.askAfter) {
			return flightRetry, time.Time{}
		}
		if look.IsZero() || s.askAfter.Before(look) {
			look = s.askAfter
		}
	}
	return flightNone, look
}

// keepAliveAt is when an idle account's consent is to be renewed.
func (m *manager) keepAliveAt(p *served, e *entry) time.Time {
	if !p.UsesStore() || p.keepAlive <= 0 || e.rec == nil || e.rec.RefreshToken == "" || e.rec.Failed != nil {
		return time.Time{}
	}
	last := e.rec.LastRefresh
	if last.IsZero() {
		last = e.rec.Consent
	}
	// Spread over a tenth of the period, always the same for one account.
	sum := sha256.Sum256([]byte(e.subject))
	part := time.Duration(sum[0])<<8 + time.Duration(sum[1])
	return last.Add(p.keepAlive - p.keepAlive/10*part/65536)
}

// scan finds the accounts that the store knows, so that the keep-alive needs
// no traffic to begin with.
func (m *manager) scan(p *served) {
	defer m.loops.Done()
	if !p.UsesStore() {
		return
	}
	p.records.Rooms.Sweep(m.ctx)
	keys, err := p.records.Keys(m.ctx, m.name)
	if err != nil {
		p.logger.Error("listing the token store", zap.Error(tokenstore.StoreError("listing", err)))
		return
	}
	bad := 0
	var old []*tokenstore.Record             // of earlier versions, by account
	taken := map[string]*tokenstore.Record{} // by the account whose record was taken over
	for _, key := range keys {
		if m.ctx.Err() != nil {
			return
		}
		rec, err := p.records.Load(m.ctx, key)
		switch {
		case err != nil:
			if bad++; bad <= maxBadLogged {
				p.logger.Error("token store", zap.Error(err))
			}
		case rec == nil:
		case rec.Mailbox == "":
			old = append(old, rec)
		default:
			for account := range rec.Taken {
				taken[account] = rec
			}
			m.found(p, rec.Mailbox, rec)
		}
	}
	for _, rec := range old {
		// A process that was killed while it took the record over has left
		// both: the one must not be refreshed behind the other's back.
		if by := taken[rec.Subject]; by == nil || !by.Took(rec.Subject, rec) {
			m.found(p, rec.Subject, rec)
		}
	}
	close(m.scanned)
	if bad > 0 {
		p.logger.Error("token store holds records that cannot be used; they are left as they are",
			zap.Int("records", bad))
	}
}

// knowsStore reports whether the records of the store are known.
func (m *manager) knowsStore() bool {
	select {
	case <-m.scanned:
		return true
	default:
		return false
	}
}

// maxBadLogged bounds the log lines about records that cannot be used.
const maxBadLogged = 20

// found begins to know a grant from its record.
func (m *manager) found(p *served, subject string, rec *tokenstore.Record) {
	now := time.Now()
	e := m.entry(subject)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rec != nil || e.flight != nil {
		return
	}
	e.setRecord(rec)
	if rec.Failed != nil {
		e.lastErr, e.lastErrAt = rec.Failed.Err(), rec.Failed.At
		if !e.lastErr.Final() {
			e.refusals, e.askAfter = 1, now.Add(e.lastErr.AskAgain(1))
		}
		m.setState(e, e.standing())
	}
	if kind, _ := m.background(p, e, now); kind != flightNone {
		m.sched.set(e, now)
	}
	if w := m.warning(p, e, now); w != "" {
		p.logger.Warn("token warning", zap.String("account", e.subject), zap.String("warning", w))
	}
}

// setRecord keeps what is known of the store's record. The access tokens
// are kept once only, in cur.
func (e *entry) setRecord(r *tokenstore.Record) {
	r = r.Clone()
	r.AccessToken, r.Access = "", nil
	e.rec = r
}
