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

package console

import (
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/connect/mailing"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// maxRows bounds the rows of a table.
const maxRows = 200

// clients is what the page of clients shows.
type clients struct {
	Bans     []smtpapp.Ban
	Refusals []smtpapp.Refusal
	Sessions []smtpapp.SessionInfo
	// More says that there are more sessions than are shown.
	More int
}

func showClients(v *visit) error {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	c := clients{Bans: smtpapp.Bans(), Refusals: smtpapp.Refusals(), Sessions: app.Sessions()}
	if len(c.Sessions) > maxRows {
		c.More, c.Sessions = len(c.Sessions)-maxRows, c.Sessions[:maxRows]
	}
	c.Refusals = c.Refusals[:min(len(c.Refusals), maxRows)]
	return v.show(http.StatusOK, "clients", "clients", "Clients", c)
}

func endSession(v *visit) error {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	ended := app.EndSessions(smtpapp.SessionFilter{ID: v.r.PathValue("id")}, v.r.PostForm.Get("now") != "")
	if len(ended) == 0 {
		return refuse(http.StatusNotFound, "%v", errNoSession)
	}
	v.did("session ended", zap.String("session", ended[0].ID), zap.String("account", ended[0].Account))
	if account := v.r.PostForm.Get("account"); account != "" {
		return v.leave("accounts", account)
	}
	return v.leave("clients")
}

func liftBan(v *visit) error {
	network, err := netip.ParsePrefix(v.r.PostForm.Get("network"))
	if err != nil {
		return refuse(http.StatusBadRequest, "Field network: want an address prefix such as 192.0.2.0/24.")
	}
	n := smtpapp.LiftBans(v.r.PostForm.Get("server"), network)
	v.did("ban lifted", zap.Stringer("network", network), zap.String("server", v.r.PostForm.Get("server")), zap.Int("bans", n))
	return v.leave("clients")
}

type invitations struct {
	List []connect.Invitation
	Next string
	// Mailings are the lists that were mailed.
	Mailings []mailing.Status
}

func showInvitations(v *visit) error {
	site, err := connect.Current()
	if err != nil {
		return v.show(http.StatusOK, "no_connect", "invitations", "Invitations", nil)
	}
	var i invitations
	i.List, i.Next, err = site.Invitations.List(v.r.Context(), connect.Filter{}, v.r.URL.Query().Get("after"), pageSize)
	if err != nil {
		return err
	}
	if i.Mailings, err = v.orders().List(v.r.Context()); err != nil {
		return err
	}
	return v.show(http.StatusOK, "invitations", "invitations", "Invitations", i)
}

func revokeInvitation(v *visit) error {
	site, err := connect.Current()
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	if err := site.Invitations.Revoke(v.r.Context(), id); err != nil {
		return err
	}
	v.did("invitation revoked", zap.String("invitation", id[:12]))
	return v.leave("invitations")
}

type upstreams struct {
	Upstreams []upstreamapp.UpstreamStatus
	Providers []oauthtoken.ProviderStatus
}

func showUpstreams(v *visit) error {
	var u upstreams
	if app, err := operate.App[*upstreamapp.App]("smtp_upstreams"); err == nil {
		u.Upstreams = app.Status()
	}
	if app, err := operate.App[*oauthtoken.App]("oauth_tokens"); err == nil {
		u.Providers = app.ProviderStatus()
	}
	return v.show(http.StatusOK, "upstreams", "upstreams", "Upstreams", u)
}
