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
	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

// AccountStates are what an account's state may be.
var AccountStates = []string{"active", "paused", "needs_consent"}

// States says what keeps accounts from sending, as of one moment.
type States struct {
	// reauth are the mailboxes whose consent has ended.
	reauth map[string]bool
}

// NewStates reads the states of all tokens.
func NewStates() States {
	app, err := App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return States{}
	}
	s := States{reauth: make(map[string]bool)}
	for _, st := range app.Status(oauthtoken.StatusFilter{State: "reauth_required"}) {
		s.reauth[st.Account] = true
	}
	return s
}

// Of is the state of an account.
func (s States) Of(a *accounts.Account) string {
	switch {
	case a.Paused:
		return "paused"
	case s.reauth[GrantOf("", a).Owner()]:
		return "needs_consent"
	}
	return "active"
}

// AccountStatus is what the apps know of an account at the moment.
type AccountStatus struct {
	// Token is the state of the account's tokens, if it has any.
	Token *oauthtoken.AccountStatus `json:"token,omitempty"`
	// UpstreamStatus is its state at the upstream, with what is left of
	// each limit.
	UpstreamStatus *upstreampool.AccountStatus `json:"upstream_status,omitempty"`
	// Counters are what became of its messages since the process started;
	// absent if there were none.
	Counters *smtpapp.Counters `json:"counters,omitempty"`
}

// StatusOf asks each running app about an account.
func StatusOf(a *accounts.Account) (s AccountStatus) {
	if app, err := App[*oauthtoken.App]("oauth_tokens"); err == nil {
		if provider, err := ProviderOf(a.Upstream); err == nil {
			st := app.StatusOf(GrantOf(provider, a))
			s.Token = &st
		}
	}
	if app, err := App[*upstreampool.App]("smtp_upstreams"); err == nil {
		if st, err := app.AccountStatus(a); err == nil {
			s.UpstreamStatus = &st
		}
	}
	if app, err := App[*smtpapp.App]("smtp"); err == nil {
		if c, ok := app.Counters(a.Name); ok {
			s.Counters = &c
		}
	}
	return s
}
