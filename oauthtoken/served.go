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
	"maps"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// served is a provider of one configuration, with what serves its tokens.
type served struct {
	*authserver.Provider
	logger  *zap.Logger
	app     *App
	records *tokenstore.Records

	retryFirst   time.Duration
	refreshAhead time.Duration
	keepAlive    time.Duration

	key string // in managers
	man *manager
}

// Servers returns the providers that tokens are asked of, by name.
func (a *App) Servers() map[string]*authserver.Provider {
	out := maps.Clone(a.Providers)
	maps.DeleteFunc(out, func(_ string, p *authserver.Provider) bool { return p.Grant == authserver.GrantExternal })
	return out
}

// serve makes ready to serve a provider that is provisioned.
func (a *App) serve(p *authserver.Provider) (*served, error) {
	s := &served{
		Provider: p, logger: p.Logger(), app: a, records: a.records,
		retryFirst: 500 * time.Millisecond, refreshAhead: time.Duration(a.RefreshAhead), keepAlive: time.Duration(a.KeepAlive),
		key: p.Key(),
	}
	v, _, err := managers.LoadOrNew(s.key, func() (caddy.Destructor, error) { return newManager(s), nil })
	if err != nil {
		return nil, err
	}
	s.man = v.(*manager)
	p.Use(&s.man.clock, s.man.owner)
	return s, nil
}

// owner is who has consented for a mailbox before.
func (m *manager) owner(mailbox string) *authserver.Identity {
	e := m.entries.get(strings.ToLower(mailbox))
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec.Consented()
}

func (p *served) want(r grant.Request) want {
	q := want{account: r.Account, scopes: r.Scopes, key: r.ScopeKey()}
	switch p.Grant {
	case authserver.GrantRefreshToken:
		q.subject, q.seed = r.Owner(), r.Seed
	case authserver.GrantServiceAccount:
		q.subject = r.Owner()
	}
	return q
}

// flightTimeout bounds one refresh with all its waiting.
func (p *served) flightTimeout() time.Duration {
	return time.Minute + time.Duration(p.MaxAttempts)*(time.Duration(p.Timeout)+maxRetryAfter)
}
