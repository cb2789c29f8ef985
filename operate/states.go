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

package operate

import (
	"context"
	"sync"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/smtpapp/counters"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// AccountStates are what an account's state may be: the first that holds.
var AccountStates = []string{
	StatePaused, StateUnknownUpstream, StateNeverConsented, StateNeedsConsent, StateRefused, StateNotVerified, StateActive,
}

// The states of accounts. docs/accounts.md says them in full.
const (
	// StatePaused is set by an operator.
	StatePaused = "paused"
	// StateUnknownUpstream is an account whose upstream is not configured.
	StateUnknownUpstream = "unknown_upstream"
	// StateNeverConsented waits for its owner's first consent.
	StateNeverConsented = "never_consented"
	// StateNeedsConsent had a consent that has ended.
	StateNeedsConsent = "needs_consent"
	// StateRefused is refused by the provider for another reason, at the
	// token endpoint or at the login.
	StateRefused = "refused"
	// StateNotVerified lacks nothing that the gateway knows of, and has not
	// yet logged in.
	StateNotVerified = "not_verified"
	// StateActive has logged in at its provider, and nothing speaks against
	// the next time.
	StateActive = "active"
)

// States says what keeps accounts from sending, as of one moment.
type States struct {
	tokens    *oauthtoken.App
	upstreams *upstreamapp.App
	smtp      *smtpapp.App
}

// NewStates takes the apps of now.
func NewStates() (s States) {
	s.tokens, _ = App[*oauthtoken.App]("oauth_tokens")
	s.upstreams, _ = App[*upstreamapp.App]("smtp_upstreams")
	s.smtp, _ = App[*smtpapp.App]("smtp")
	return s
}

// Of is the state of an account.
func (s States) Of(a *accounts.Account) string {
	switch {
	case a.Paused:
		return StatePaused
	case s.upstreams == nil:
		return StateNotVerified
	case !s.upstreams.Has(a.Upstream):
		return StateUnknownUpstream
	}
	known := false
	if provider := s.upstreams.Provider(a.Upstream); provider != "" && s.tokens != nil {
		st := s.tokens.StatusOf(GrantOf(provider, a))
		switch {
		case st.State == "reauth_required" && st.Standing != authserver.StandingNeverConsented:
			return StateNeedsConsent
		case st.Standing == authserver.StandingNeverConsented:
			return StateNeverConsented
		case st.Standing == authserver.StandingDamaged:
			return StateNeedsConsent
		case st.Standing == authserver.StandingRefused, st.Standing == authserver.StandingClientRefused:
			return StateRefused
		}
		known = st.Standing == authserver.StandingActive
	}
	if st, err := s.upstreams.AccountStatus(a); err == nil {
		open := st.Connections.Busy + st.Connections.Idle
		if st.LastError != "" && open == 0 && !passing(st.LastError) {
			return StateRefused
		}
		known = known || open > 0
	}
	c, _ := counters.Of(a.Name)
	ok, refused := verified.of(a, c.Accepted)
	switch {
	case refused != "":
		return StateRefused
	case known, ok, c.Accepted > 0:
		return StateActive
	}
	return StateNotVerified
}

// passing reports whether a reply is about a trouble that is not the account's.
func passing(reply string) bool {
	e, ok := explain.Of(reply)
	return ok && e.RetryHelps || relay.Unreachable(reply) || reply == relay.ReplyTokenUnavailable.Error()
}

// verified remembers how an account's test ended.
var verified marks

// marks are by account. A changed account has to prove itself again, and one that a
// test found refused is so until a message of its is accepted, or a test passes.
type marks struct {
	mu   sync.Mutex
	byID map[string]mark
}

type mark struct {
	version string
	// refused is the provider's word; empty where all went well.
	refused string
	// accepted is how many messages had been, at that time.
	accepted uint64
}

func (m *marks) set(a *accounts.Account, refused string, accepted uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID == nil {
		m.byID = make(map[string]mark)
	}
	m.byID[a.Key()] = mark{a.Version(), refused, accepted}
}

// of says what the last test of an account found, if that still holds.
func (m *marks) of(a *accounts.Account, accepted uint64) (ok bool, refused string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, known := m.byID[a.Key()]
	switch {
	case !known || v.version != a.Version() || v.refused != "" && accepted > v.accepted:
		return false, ""
	case v.refused != "":
		return false, v.refused
	}
	return true, ""
}

// AccountStatus is what the apps know of an account at the moment.
type AccountStatus struct {
	// Token is the state of the account's tokens, if it has any.
	Token *oauthtoken.AccountStatus `json:"token,omitempty"`
	// UpstreamStatus is its state at the upstream, with what is left of
	// each limit.
	UpstreamStatus *upstreamapp.AccountStatus `json:"upstream_status,omitempty"`
	// Counters are what became of its messages since the process started;
	// absent if there were none.
	Counters *counters.Counters `json:"counters,omitempty"`
}

// Consented reports whether the owner of an account's mailbox has consented and need
// not do so again.
func Consented(ctx context.Context, name string) (bool, error) {
	app, err := App[*smtpapp.App]("smtp")
	if err != nil {
		return false, err
	}
	tokens, err := App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return false, err
	}
	a, err := app.Directory().Get(ctx, name)
	if err != nil {
		return false, err
	}
	provider, err := ProviderOf(a.Upstream)
	if err != nil {
		return false, err
	}
	if err := tokens.AwaitRecords(ctx); err != nil {
		return false, err
	}
	st := tokens.StatusOf(GrantOf(provider, a))
	return !st.Consent.IsZero() && st.State != "reauth_required", nil
}

// StatusOf asks each running app about an account.
func StatusOf(a *accounts.Account) (s AccountStatus) {
	if app, err := App[*oauthtoken.App]("oauth_tokens"); err == nil {
		if provider, err := ProviderOf(a.Upstream); err == nil {
			st := app.StatusOf(GrantOf(provider, a))
			s.Token = &st
		}
	}
	if app, err := App[*upstreamapp.App]("smtp_upstreams"); err == nil {
		if st, err := app.AccountStatus(a); err == nil {
			s.UpstreamStatus = &st
		}
	}
	if c, ok := counters.Of(a.Name); ok {
		s.Counters = &c
	}
	return s
}
