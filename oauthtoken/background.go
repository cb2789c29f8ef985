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
	"path"
	"time"

	"go.uber.org/zap"
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
			m.current.Load().logWarnings(now)
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
	kind := m.background(p, e, time.Now())
	e.mu.Unlock()
	if kind == flightNone {
		return
	}
	if m.gate.acquire(m.ctx, true) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if kind = m.background(p, e, time.Now()); kind == flightNone {
		m.gate.release(true)
		return
	}
	seed := ""
	if c := e.cur.Load(); c != nil {
		seed = c.seed
	}
	m.startFlight(e, kind, seed, true)
}

// background says which background refresh an account needs now. Where there
// is none, it sets when to look again.
func (m *manager) background(p *Provider, e *entry, now time.Time) flightKind {
	if e.flight != nil {
		return flightNone // its end looks again
	}
	reauth := e.lastErr != nil && e.lastErr.class == classReauth
	blocked := now.Before(e.blockUntil)
	if e.unsaved != nil {
		if blocked {
			m.sched.set(e, e.blockUntil)
			return flightNone
		}
		return flightSave
	}
	if c := e.cur.Load(); c != nil {
		n := now.UnixNano()
		switch {
		case n >= c.expiry:
			e.cur.Store(nil)
			if e.state == stateOK {
				m.setState(e, stateIdle)
			}
		case n < c.refreshAt:
			m.sched.set(e, time.Unix(0, c.refreshAt))
			return flightNone
		// Whoever did not send in the second half of the token's time is
		// left alone; the next use finds it expired, or nudges.
		case reauth || e.used.Load() < c.obtained+(c.refreshAt-c.obtained)/2:
			if !reauth {
				c.nudged.Store(false)
			}
			m.sched.set(e, time.Unix(0, c.expiry))
			return flightNone
		case blocked:
			m.sched.set(e, e.blockUntil)
			return flightNone
		default:
			return flightAhead
		}
	}
	at := m.keepAliveAt(p, e)
	switch {
	case at.IsZero() || reauth:
		return flightNone
	case now.Before(at):
		m.sched.set(e, at)
		return flightNone
	case blocked:
		m.sched.set(e, e.blockUntil)
		return flightNone
	}
	return flightKeepAlive
}

// keepAliveAt is when an idle account's consent is to be renewed.
func (m *manager) keepAliveAt(p *Provider, e *entry) time.Time {
	if !p.usesStore() || p.keepAlive <= 0 || e.rec == nil || e.rec.RefreshToken == "" || e.rec.Failed != nil {
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
func (m *manager) scan(p *Provider) {
	defer m.loops.Done()
	if !p.usesStore() {
		return
	}
	keys, err := p.records.store.List(m.ctx, path.Dir(storageKey(m.name, "")))
	if err != nil {
		p.logger.Error("listing the token store", zap.Error(storeError("listing", err)))
		return
	}
	bad := 0
	for _, key := range keys {
		if m.ctx.Err() != nil {
			return
		}
		rec, err := p.records.load(m.ctx, key)
		if err != nil || rec == nil || rec.Subject == "" || storageKey(m.name, rec.Subject) != key {
			if err != nil && bad == 0 {
				p.logger.Error("token store", zap.Error(err))
			}
			bad++
			continue
		}
		e := m.entry(rec.Subject)
		e.mu.Lock()
		if e.rec == nil && e.flight == nil {
			e.setRecord(rec)
			if rec.Failed != nil {
				e.lastErr, e.lastErrAt = rec.Failed.error(), rec.Failed.At
				m.setState(e, stateReauth)
			}
			if m.background(p, e, time.Now()) != flightNone {
				m.sched.set(e, time.Now())
			}
			if w := m.warning(p, e, time.Now()); w != "" {
				p.logger.Warn("token warning", zap.String("account", e.subject), zap.String("warning", w))
			}
		}
		e.mu.Unlock()
	}
	if bad > 0 {
		p.logger.Error("token store holds records that cannot be used; they are left as they are",
			zap.Int("records", bad))
	}
}

// setRecord keeps what is known of the store's record. The access token is
// kept once only, in cur.
func (e *entry) setRecord(r *record) {
	r = r.clone()
	r.AccessToken = ""
	e.rec = r
}
