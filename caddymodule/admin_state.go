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

package caddymodule

import (
	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

// accountStates are what an account's state may be.
var accountStates = []string{"active", "paused", "needs_consent"}

// states tells what keeps accounts from sending, as of one moment.
type states struct {
	// reauth are the mailboxes whose consent has ended.
	reauth map[string]bool
}

func newStates() states {
	app, err := runningApp[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return states{}
	}
	s := states{reauth: make(map[string]bool)}
	for _, st := range app.Status(oauthtoken.StatusFilter{State: "reauth_required"}) {
		s.reauth[st.Account] = true
	}
	return s
}

func (s states) of(a *accounts.Account) string {
	switch {
	case a.Paused:
		return "paused"
	case s.reauth[grantOf("", a).Owner()]:
		return "needs_consent"
	}
	return "active"
}

// accountStatus is what the apps know of an account at the moment.
type accountStatus struct {
	// Token is the state of the account's tokens, if it has any.
	Token *oauthtoken.AccountStatus `json:"token,omitempty"`
	// UpstreamStatus is its state at the upstream, with what is left of
	// each limit.
	UpstreamStatus *upstreampool.AccountStatus `json:"upstream_status,omitempty"`
	// Counters are what became of its messages since the process started;
	// absent if there were none.
	Counters *smtpapp.Counters `json:"counters,omitempty"`
}

func statusOf(a *accounts.Account) (s accountStatus) {
	if app, err := runningApp[*oauthtoken.App]("oauth_tokens"); err == nil {
		if provider, err := providerOf(a.Upstream); err == nil {
			st := app.StatusOf(grantOf(provider, a))
			s.Token = &st
		}
	}
	if app, err := runningApp[*upstreampool.App]("smtp_upstreams"); err == nil {
		if st, err := app.AccountStatus(a); err == nil {
			s.UpstreamStatus = &st
		}
	}
	if app, err := runningApp[*smtpapp.App]("smtp"); err == nil {
		if c, ok := app.Counters(a.Name); ok {
			s.Counters = &c
		}
	}
	return s
}
