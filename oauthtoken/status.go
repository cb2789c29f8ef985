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
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// StatusFilter chooses accounts; empty fields choose all.
type StatusFilter struct {
	Provider, Account, State string
}

// AccountStatus is what is known of an account's tokens. It holds no secret.
type AccountStatus struct {
	Provider string `json:"provider"`
	// Account is the mailbox, whose name in most cases is the account's;
	// empty where one token serves the whole provider.
	Account string `json:"account,omitempty"`
	// State is `ok` (a valid token is in memory), `idle` (none is, nothing
	// is wrong), `refreshing`, `reauth_required` (the owner must consent
	// again), `refused` (for a reason that can pass; it is asked again) or
	// `error` (the last refresh failed; it is tried again).
	State string `json:"state"`
	// Standing is what is known of the grant itself: `active` (the provider
	// issued a token, or nothing speaks against it), `not_verified` (it was
	// never used), `never_consented`, `refused` (LastError says why, NextTry
	// when it is asked again), `client_refused` (the provider refuses the
	// gateway's own credentials) or `damaged` (the stored record cannot be read).
	Standing string `json:"standing"`
	// Final says that the grant has ended: it is not asked for again until
	// the owner consents, or an operator says so.
	Final bool `json:"final,omitempty"`
	// NextTry is when a refused grant is asked for again.
	NextTry time.Time `json:"next_try,omitzero"`
	// Owner is who consented, as far as the provider said.
	Owner string `json:"owner,omitempty"`
	// Expires is when the access token ends.
	Expires time.Time `json:"expires,omitzero"`
	// Consent is when the refresh token's line began.
	Consent time.Time `json:"consent,omitzero"`
	// ConsentExpires is when it ends, as far as the server said.
	ConsentExpires time.Time    `json:"consent_expires,omitzero"`
	LastRefresh    time.Time    `json:"last_refresh,omitzero"`
	LastUsed       time.Time    `json:"last_used,omitzero"`
	LastError      *StatusError `json:"last_error,omitempty"`
	Warnings       []string     `json:"warnings,omitempty"`
}

// StatusError is an error in words.
type StatusError struct {
	At          time.Time `json:"at,omitzero"`
	Code        string    `json:"code,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Description string    `json:"description,omitempty"`
	// Cause, Remedy and Retry are those of explain.OAuth.
	Cause  string `json:"cause"`
	Remedy string `json:"remedy"`
	Retry  bool   `json:"retry"`
}

// ProviderStatus is a provider as a whole.
type ProviderStatus struct {
	Provider string `json:"provider"`
	Kind     string `json:"kind"`
	Grant    string `json:"grant"`
	// Accounts counts the known accounts by state.
	Accounts map[string]int `json:"accounts"`
	// EndpointDown says that requests are held back, since the last ones failed.
	EndpointDown bool `json:"endpoint_down,omitempty"`
	// Asked says that tokens were asked for since the gateway started.
	Asked     bool         `json:"asked"`
	LastError *StatusError `json:"last_error,omitempty"`
	Warnings  []string     `json:"warnings,omitempty"`
}

func statusError(e *authserver.Error, at time.Time) *StatusError {
	if e == nil {
		return nil
	}
	x := explain.About{AppOnly: e.AppOnly}.OAuth(e.Code, e.Reason+" "+e.Description)
	return &StatusError{
		At: at, Code: e.Code, Reason: e.Reason, Description: e.Description,
		Cause: x.Cause, Remedy: x.Remedy, Retry: !x.Consent || e.Passing(),
	}
}

// Status returns the known accounts, sorted by provider and account. An
// account is known once it was used or has a record in the store.
func (a *App) Status(f StatusFilter) []AccountStatus {
	now := time.Now()
	out := []AccountStatus{}
	for name, p := range a.served {
		if f.Provider != "" && f.Provider != name || p.man == nil {
			continue
		}
		p.man.entries.each(func(e *entry) {
			if f.Account != "" && !strings.EqualFold(f.Account, e.subject) {
				return
			}
			s := p.man.status(p, e, now)
			if f.State == "" || f.State == s.State {
				out = append(out, s)
			}
		})
	}
	slices.SortFunc(out, func(a, b AccountStatus) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Account, b.Account))
	})
	return out
}

func (m *manager) status(p *served, e *entry, now time.Time) AccountStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := AccountStatus{
		Provider: m.name, Account: e.subject, State: e.state.String(),
		LastError: statusError(e.lastErr, e.lastErrAt), Warnings: m.accountWarnings(p, e.rec, now),
	}
	s.Standing = e.grantStanding()
	if e.refused() {
		s.Final = e.lastErr.Final()
		if !s.Final {
			s.NextTry = e.askAfter
		}
	}
	if c := e.cur.Load(); c != nil {
		s.Expires = time.Unix(0, c.expiry)
		s.LastRefresh = time.Unix(0, c.obtained)
	}
	if r := e.rec; r != nil {
		s.Consent, s.ConsentExpires, s.LastRefresh, s.LastUsed = r.Consent, r.RefreshExpires, r.LastRefresh, r.LastUsed
		if r.Owner != nil {
			s.Owner = r.Owner.Name
		}
	}
	if u := e.lastUsed(); u != 0 {
		s.LastUsed = time.Unix(0, u)
	}
	return s
}

// grantStanding is called with e.mu held.
func (e *entry) grantStanding() string {
	st := ""
	e.sets(func(s *scoped) bool {
		st = s.lastErr.Standing()
		return st == "" && s.cur.Load() == nil
	})
	switch {
	case st != "":
		return st
	case e.cur.Load() != nil, e.rec != nil && !e.rec.LastRefresh.IsZero():
		return authserver.StandingActive
	}
	return authserver.StandingNotVerified
}

// StatusOf returns what is known of the grant that a request is about, also
// where it was never used.
func (a *App) StatusOf(r grant.Request) AccountStatus {
	p, ok := a.served[r.Provider]
	if !ok || p.man == nil || p.Grant == authserver.GrantExternal {
		return AccountStatus{Provider: r.Provider, State: stateIdle.String(), Standing: authserver.StandingNotVerified}
	}
	q := p.want(r)
	e := p.man.entries.get(q.subject)
	if e == nil && p.UsesStore() && r.Account != "" {
		e = p.man.entries.get(r.Account) // of a record of an earlier version
	}
	if e != nil {
		st := p.man.status(p, e, time.Now())
		if st.Standing != authserver.StandingNotVerified || !p.UsesStore() {
			return st
		}
		e.mu.Lock()
		none := (e.rec == nil || e.rec.RefreshToken == "") && r.Seed == ""
		e.mu.Unlock()
		if none {
			st.Standing = authserver.StandingNeverConsented
		}
		return st
	}
	st := AccountStatus{Provider: r.Provider, Account: q.subject, State: stateIdle.String(), Standing: authserver.StandingNotVerified}
	// Before the store was read, a record may yet be found.
	if p.UsesStore() && r.Seed == "" && p.man.knowsStore() {
		st.Standing = authserver.StandingNeverConsented
	}
	return st
}

// AwaitRecords waits until the store is read, which begins with the app.
func (a *App) AwaitRecords(ctx context.Context) error {
	for name, p := range a.served {
		if p.man == nil || !p.UsesStore() {
			continue
		}
		select {
		case <-p.man.scanned:
		case <-ctx.Done():
			return fmt.Errorf("provider '%s': the stored tokens are not read yet: %w", name, context.Cause(ctx))
		}
	}
	return nil
}

// ProviderStatus returns the providers, sorted by name.
func (a *App) ProviderStatus() []ProviderStatus {
	now := time.Now()
	out := []ProviderStatus{}
	for name, p := range a.served {
		s := ProviderStatus{Provider: name, Kind: p.Kind, Grant: p.Grant, Accounts: map[string]int{}, Warnings: p.Warnings(now)}
		if m := p.man; m != nil {
			m.entries.each(func(e *entry) {
				e.mu.Lock()
				defer e.mu.Unlock()
				s.Accounts[e.state.String()]++
			})
			s.EndpointDown, s.Asked = m.breaker.State(m.ticks()) == breaker.Open, m.breaker.Last() != breaker.Neither
			m.mu.Lock()
			s.LastError = statusError(m.clientErr, time.Time{})
			m.mu.Unlock()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ProviderStatus) int { return cmp.Compare(a.Provider, b.Provider) })
	return out
}
