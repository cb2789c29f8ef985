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
	"slices"
	"time"

	"github.com/caddymail/mailgateway/explain"
)

// StatusFilter chooses accounts; empty fields choose all.
type StatusFilter struct {
	Provider, Account, State string
}

// AccountStatus is what is known of an account's tokens. It holds no secret.
type AccountStatus struct {
	Provider string `json:"provider"`
	// Account is the account's name, or the mailbox with grant
	// `service_account`; empty where one token serves the whole provider.
	Account string `json:"account,omitempty"`
	// State is `ok` (a valid token is in memory), `idle` (none is, nothing
	// is wrong), `refreshing`, `reauth_required` (a human must consent
	// again) or `error` (the last refresh failed; it is tried again).
	State string `json:"state"`
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
	EndpointDown bool         `json:"endpoint_down,omitempty"`
	LastError    *StatusError `json:"last_error,omitempty"`
	Warnings     []string     `json:"warnings,omitempty"`
}

func statusError(e *Error, at time.Time) *StatusError {
	if e == nil {
		return nil
	}
	x := explain.OAuth(e.Code, e.Reason+" "+e.Description)
	return &StatusError{
		At: at, Code: e.Code, Reason: e.Reason, Description: e.Description,
		Cause: x.Cause, Remedy: x.Remedy, Retry: x.Retry,
	}
}

// Status returns the known accounts, sorted by provider and account. An
// account is known once it was used or has a record in the store.
func (a *App) Status(f StatusFilter) []AccountStatus {
	now := time.Now()
	out := []AccountStatus{}
	for name, p := range a.Providers {
		if f.Provider != "" && f.Provider != name || p.man == nil {
			continue
		}
		p.man.entries.each(func(e *entry) {
			if f.Account != "" && f.Account != e.subject {
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

func (m *manager) status(p *Provider, e *entry, now time.Time) AccountStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := AccountStatus{
		Provider: m.name, Account: e.subject, State: e.state.String(),
		LastError: statusError(e.lastErr, e.lastErrAt), Warnings: m.accountWarnings(p, e.rec, now),
	}
	if c := e.cur.Load(); c != nil {
		s.Expires = time.Unix(0, c.expiry)
		s.LastRefresh = time.Unix(0, c.obtained)
	}
	if r := e.rec; r != nil {
		s.Consent, s.ConsentExpires, s.LastRefresh, s.LastUsed = r.Consent, r.RefreshExpires, r.LastRefresh, r.LastUsed
	}
	if u := e.used.Load(); u != 0 {
		s.LastUsed = time.Unix(0, u)
	}
	return s
}

// ProviderStatus returns the providers, sorted by name.
func (a *App) ProviderStatus() []ProviderStatus {
	now := time.Now()
	out := []ProviderStatus{}
	for name, p := range a.Providers {
		s := ProviderStatus{Provider: name, Kind: p.Kind, Grant: p.Grant, Accounts: map[string]int{}, Warnings: p.warnings(now)}
		if m := p.man; m != nil {
			m.entries.each(func(e *entry) {
				e.mu.Lock()
				defer e.mu.Unlock()
				s.Accounts[e.state.String()]++
			})
			s.EndpointDown = m.breaker.isOpen()
			m.mu.Lock()
			s.LastError = statusError(m.clientErr, time.Time{})
			m.mu.Unlock()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ProviderStatus) int { return cmp.Compare(a.Provider, b.Provider) })
	return out
}
