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

package admin

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// listSessions answers GET /smtp/sessions.
func listSessions(w http.ResponseWriter, r *http.Request) error {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	if err := onlyQuery(r, "server", "account"); err != nil {
		return err
	}
	server, account := r.URL.Query().Get("server"), r.URL.Query().Get("account")
	sessions := []smtpapp.SessionInfo{}
	for _, s := range app.Sessions() {
		if (server == "" || s.Server == server) && (account == "" || s.Account == account) {
			sessions = append(sessions, s)
		}
	}
	return writeJSON(w, http.StatusOK, SessionList{sessions})
}

// listUpstreams answers GET /smtp/upstreams.
func listUpstreams(w http.ResponseWriter, _ *http.Request) error {
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Upstreams []upstreamapp.UpstreamStatus `json:"upstreams"`
	}{app.Status()})
}

// drainUpstream answers POST /smtp/upstreams/{name}/drain.
func drainUpstream(w http.ResponseWriter, r *http.Request) error {
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return err
	}
	switch err := app.Drain(r.PathValue("name")); {
	case errors.Is(err, upstreamapp.ErrNoUpstream):
		return &apiError{http.StatusNotFound, err, ""}
	case errors.Is(err, upstreamapp.ErrUnsupported):
		return &apiError{http.StatusConflict, err, ""}
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listTokens answers GET /oauth_tokens.
func listTokens(w http.ResponseWriter, r *http.Request) error {
	app, err := operate.App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return err
	}
	if err := onlyQuery(r, "provider", "account", "state", "after", "limit"); err != nil {
		return err
	}
	limit, err := pageSize(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	list := app.Status(oauthtoken.StatusFilter{
		Provider: query.Get("provider"), Account: query.Get("account"), State: query.Get("state"),
	})
	key := func(s oauthtoken.AccountStatus) string { return s.Provider + "/" + s.Account }
	if after := query.Get("after"); after != "" {
		i := slices.IndexFunc(list, func(s oauthtoken.AccountStatus) bool { return key(s) > after })
		if i < 0 {
			i = len(list)
		}
		list = list[i:]
	}
	answer := tokenPage{Providers: app.ProviderStatus(), Accounts: list}
	if len(list) > limit {
		answer.Accounts, answer.Next = list[:limit], key(list[limit-1])
	}
	return writeJSON(w, http.StatusOK, answer)
}

// tokenPage is one page of the states of tokens.
type tokenPage struct {
	Providers []oauthtoken.ProviderStatus `json:"providers"`
	Accounts  []oauthtoken.AccountStatus  `json:"accounts"`
	Next      string                      `json:"next,omitempty"`
}
