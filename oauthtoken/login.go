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
	"fmt"
	"time"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// errNoLogin is an account whose provider keeps no refresh token.
var errNoLogin = errors.New("the provider's grant has no refresh token to store")

// StoreConsent keeps a refresh token that a human has just consented to, and
// takes the account out of the state reauth_required. It is durable when
// there is no error. A refresh_token of the account's record that was there
// before does not replace it; one that is set later does.
func (a *App) StoreConsent(ctx context.Context, r grant.Request, refreshToken string) error {
	return a.StoreLogin(ctx, r, &authserver.Consent{RefreshToken: refreshToken, AnyIdentity: true})
}

// StoreLogin is StoreConsent with all that a login has brought.
func (a *App) StoreLogin(ctx context.Context, r grant.Request, c *authserver.Consent) error {
	p, ok := a.served[r.Provider]
	switch {
	case !ok:
		return fmt.Errorf("no provider '%s' is configured", r.Provider)
	case !p.UsesStore():
		return errNoLogin
	case c.RefreshToken == "":
		return errors.New("the refresh token is empty")
	case len(c.MissingScopes) > 0:
		// It would take the place of one that may do, and be refused with the next message.
		return &authserver.ScopeError{Missing: c.MissingScopes}
	}
	return p.man.exclusive(ctx, p, p.want(r).subject, func(e *entry, key string, stored *tokenstore.Record) error {
		n := e.newest(stored)
		if n.Owner != nil && !c.AnyIdentity {
			if err := n.Owner.Expect(c.Owner); err != nil {
				return err
			}
		}
		n.Seq++
		n.Subject, n.Mailbox, n.Provider = e.subject, e.subject, p.Name()
		n.LoggedIn(c.RefreshToken, p.ClientID, time.Now())
		n.RefreshExpires, n.Owner = c.Expires, c.Owner
		if err := p.records.Swap(key, n, seqOf(stored)); err != nil {
			return err
		}
		// What an earlier version kept for the account is superseded.
		if r.Account != "" && r.Account != e.subject {
			if err := p.forgetOld(ctx, r.Account); err != nil {
				return err
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.unsaved, e.pending = nil, nil
		e.sets(func(s *scoped) bool { s.cur.Store(nil); s.forget(); return true })
		e.setRecord(n)
		p.man.setState(e, stateIdle)
		return nil
	})
}

// Forget deletes what is known of a mailbox's grant, its refresh token
// included. Accounts that share the mailbox share the grant: it is to be called
// for the last of them.
func (a *App) Forget(ctx context.Context, r grant.Request) error {
	p, ok := a.served[r.Provider]
	if !ok || !p.UsesStore() {
		return nil
	}
	if r.Account != "" && r.Account != r.Owner() {
		if err := p.forgetOld(ctx, r.Account); err != nil {
			return err
		}
	}
	return p.man.exclusive(ctx, p, p.want(r).subject, func(e *entry, key string, _ *tokenstore.Record) error {
		if err := p.records.Delete(ctx, key); err != nil {
			return err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sets(func(s *scoped) bool { s.cur.Store(nil); return true })
		e.rec, e.unsaved, e.pending = nil, nil, nil
		p.man.setState(e, stateNone)
		p.man.sched.set(e, time.Time{})
		p.man.entries.remove(e)
		return nil
	})
}

// forgetOld deletes the record that an earlier version kept under the name of
// an account.
func (p *served) forgetOld(ctx context.Context, account string) error {
	key := tokenstore.StorageKey(p.Name(), account)
	old, err := p.records.Load(ctx, key)
	if err != nil || old == nil || old.Mailbox != "" {
		return nil //nolint:nilerr // what cannot be read is not taken over either
	}
	if err := p.records.Delete(ctx, key); err != nil {
		return err
	}
	p.man.abandon(account, nil)
	return nil
}

// Retry lets the next call of Token ask the server even if its last word was
// that a human is needed: an operator says that what was in the way is gone.
func (a *App) Retry(r grant.Request) {
	p, ok := a.served[r.Provider]
	if !ok || p.Grant == authserver.GrantExternal {
		return
	}
	if e := p.man.entries.get(p.want(r).subject); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.again = true
		e.sets(func(s *scoped) bool { s.blockUntil, s.askAfter = time.Time{}, time.Now(); return true })
	}
	p.man.clientWorks()
}

func seqOf(r *tokenstore.Record) uint64 {
	if r == nil {
		return 0
	}
	return r.Seq
}

// newest returns a copy of the newest record known.
func (e *entry) newest(stored *tokenstore.Record) *tokenstore.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := &tokenstore.Record{Subject: e.subject}
	for _, r := range []*tokenstore.Record{stored, e.rec, e.unsaved} {
		if r != nil && r.Seq >= n.Seq {
			n = r
		}
	}
	return n.Clone()
}

// exclusive runs f while no refresh of the account is under way, here or in
// another process.
func (m *manager) exclusive(ctx context.Context, p *served, subject string, f func(e *entry, key string, stored *tokenstore.Record) error) error {
	e := m.entry(subject)
	fl := &flight{kind: flightSave, scopes: &e.scoped, done: make(chan struct{})}
	for {
		e.mu.Lock()
		other := e.flight
		if other == nil {
			e.flight = fl
			e.mu.Unlock()
			break
		}
		e.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		e.mu.Lock()
		e.flight = nil
		if kind, _ := m.background(p, e, time.Now()); kind != flightNone {
			m.sched.set(e, time.Now())
		}
		e.mu.Unlock()
		close(fl.done)
	}()
	key := tokenstore.StorageKey(m.name, subject)
	if err := p.records.Store.Lock(ctx, key); err != nil {
		return tokenstore.StoreError("locking", err)
	}
	defer func() { _ = p.records.Store.Unlock(context.WithoutCancel(ctx), key) }()
	stored, err := p.records.Load(ctx, key)
	if err != nil {
		if authserver.AsError(err, authserver.ClassStore).Class != authserver.ClassDamaged {
			return err
		}
		if err := p.records.Clear(ctx, key); err != nil {
			return err
		}
	}
	return f(e, key, stored)
}
