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

package upstreampool

import (
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
)

// account is one account of a mailbox: who it is to the provider and to the
// limiter. Everything that the provider counts is the mailbox's pool.
type account struct {
	*pool
	name string
	rec  *accounts.Account
	id   dialer.Credentials
	lim  limits.Account

	taken int64 // when rec was
	gone  bool  // removed, paused or moved, and nothing sent since
}

// heldRecord is how long after a record a message may come that holds the one before.
const heldRecord = time.Minute

// poolKey is the name of the pool that an account belongs to.
func poolKey(a *accounts.Account) string {
	if a.Mailbox != "" {
		return accounts.FoldName(a.Mailbox)
	}
	return accounts.FoldName(a.Name)
}

// refresh takes over another version of the record. The pool is locked. A message
// that was begun with the record of before a change does not bring that back.
func (ac *account) refresh(a *accounts.Account) {
	now := clock()
	if ac.rec != nil && a.Before(ac.rec) && now-ac.taken < int64(heldRecord) {
		return
	}
	ac.taken = now
	id := dialer.Of(a)
	prev, had := ac.id, ac.rec != nil
	if had && ac.rec.Limits != a.Limits {
		ac.lim.Narrow(a.Limits)
	}
	ac.rec, ac.id = a, id
	ac.adapt.Configure(ac.lim.MaxConns())
	if had && prev != id {
		ac.renew(now)
	}
}

// follow looks at what became of the pool's accounts: no connection stays open that
// none of them may use.
func (p *pool) follow(known func(name string) (*accounts.Account, bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.conns == 0 {
		return
	}
	for ac := range p.accounts {
		switch a, certain := known(ac.name); {
		case !certain:
		case a == nil || a.Paused || poolKey(a) != p.key || a.Upstream != ac.rec.Upstream && !a.Before(ac.rec):
			ac.gone = true
		case ac.rec != a:
			ac.refresh(a)
			ac.gone = false
		default:
			ac.gone = false
		}
	}
	p.dropIdle(p.orphan)
}

// orphan reports whether no account may use the connection.
func (p *pool) orphan(c *conn) bool {
	for ac := range p.accounts {
		if !ac.gone && ac.fits(c) {
			return false
		}
	}
	return true
}

// accounts yields those that have sent.
func (p *pool) accounts(yield func(*account) bool) {
	if p.only != nil && !yield(p.only) {
		return
	}
	for _, ac := range p.more {
		if !yield(ac) {
			return
		}
	}
}

// fits reports whether the account may use the connection.
func (ac *account) fits(c *conn) bool {
	return c.identity == ac.cfg.identity && c.creds.Shared(&ac.cfg.Config) == ac.id.Shared(&ac.cfg.Config)
}

// credentials returns those in force.
func (ac *account) credentials() dialer.Credentials {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	return ac.id
}

// done ends a use that upstream.account began.
func (ac *account) done() {
	p := ac.pool
	p.mu.Lock()
	p.pins--
	drop := p.unused()
	p.mu.Unlock()
	if drop {
		p.up.forget(p)
	}
}
