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
	"maps"
	"net/http"
	"net/netip"
	"slices"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
)

var errNoSession = errors.New("no such session")

// endSessions answers DELETE /smtp/sessions, for the sessions that its query
// chooses: none by chance.
func endSessions(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "server", "account", "now"); err != nil {
		return err
	}
	f := smtpapp.SessionFilter{Server: r.URL.Query().Get("server"), Account: r.URL.Query().Get("account")}
	if f == (smtpapp.SessionFilter{}) {
		return badRequest("account", "name an account or a server")
	}
	if err := checkServer(f.Server); err != nil {
		return err
	}
	ended, err := endThem(r, f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, SessionList{ended})
}

// checkServer refuses a name that no server has, nor has had: who mistypes it
// would read that nothing was there to be done.
func checkServer(name string) error {
	if name == "" {
		return nil
	}
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(app.Servers))
	known := slices.Contains(names, name) ||
		slices.ContainsFunc(smtpapp.Bans(), func(b smtpapp.Ban) bool { return b.Server == name }) ||
		slices.ContainsFunc(smtpapp.Refusals(), func(r smtpapp.Refusal) bool { return r.Server == name }) ||
		slices.ContainsFunc(app.Sessions(), func(s smtpapp.SessionInfo) bool { return s.Server == name })
	if known {
		return nil
	}
	return badRequest("server", "%w", form.OneOf(names...).Check(name))
}

// endSession answers DELETE /smtp/sessions/{id}.
func endSession(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "now"); err != nil {
		return err
	}
	ended, err := endThem(r, smtpapp.SessionFilter{ID: r.PathValue("id")})
	switch {
	case err != nil:
		return err
	case len(ended) == 0:
		return &apiError{http.StatusNotFound, errNoSession, ""}
	}
	return writeJSON(w, http.StatusOK, SessionList{ended})
}

func endThem(r *http.Request, f smtpapp.SessionFilter) ([]smtpapp.SessionInfo, error) {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return nil, err
	}
	now := false
	switch r.URL.Query().Get("now") {
	case "", "false":
	case "true":
		now = true
	default:
		return nil, badRequest("now", "want true or false")
	}
	return app.EndSessions(f, now), nil
}

// What the answers are made of.
type (
	Session = smtpapp.SessionInfo
	Refusal = smtpapp.Refusal
	Ban     = smtpapp.Ban
)

// SessionList is the answer of what tells of sessions.
type SessionList struct {
	Sessions []Session `json:"sessions"`
}

// listRefusals answers GET /smtp/refusals.
func listRefusals(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "server", "client_ip", "account", "cause"); err != nil {
		return err
	}
	query := r.URL.Query()
	network, err := networkOf(query.Get("client_ip"), "client_ip")
	if err != nil {
		return err
	}
	if err := checkServer(query.Get("server")); err != nil {
		return err
	}
	if cause := query.Get("cause"); cause != "" {
		if err := form.OneOf(smtpapp.Causes()...).Check(cause); err != nil {
			return badRequest("cause", "%w", err)
		}
	}
	list := []smtpapp.Refusal{}
	for _, x := range smtpapp.Refusals() {
		if network.IsValid() {
			addr, err := netip.ParseAddr(x.ClientIP)
			if err != nil || !network.Contains(addr) {
				continue
			}
		}
		if wants(query.Get("server"), x.Server) && wants(query.Get("account"), x.Account) && wants(query.Get("cause"), x.Cause) {
			list = append(list, x)
		}
	}
	return writeJSON(w, http.StatusOK, RefusalList{list})
}

// wants reports whether a query's parameter chooses a value.
func wants(parameter, value string) bool { return parameter == "" || parameter == value }

// RefusalList is the answer to GET /smtp/refusals.
type RefusalList struct {
	Refusals []Refusal `json:"refusals"`
}

// networkOf reads an IP address or a prefix; it is not valid for "".
func networkOf(s, field string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, badRequest(field, "want an IP address or a prefix")
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// listBans answers GET /smtp/bans.
func listBans(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "server"); err != nil {
		return err
	}
	if err := checkServer(r.URL.Query().Get("server")); err != nil {
		return err
	}
	list := []smtpapp.Ban{}
	for _, b := range smtpapp.Bans() {
		if wants(r.URL.Query().Get("server"), b.Server) {
			list = append(list, b)
		}
	}
	return writeJSON(w, http.StatusOK, BanList{list})
}

// BanList is the answer to GET /smtp/bans.
type BanList struct {
	Bans []Ban `json:"bans"`
}

// liftBans answers DELETE /smtp/bans: those that refuse an address of the
// network, at one server or at all.
func liftBans(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "network", "server"); err != nil {
		return err
	}
	network, err := networkOf(r.URL.Query().Get("network"), "network")
	switch {
	case err != nil:
		return err
	case !network.IsValid():
		return badRequest("network", "must not be empty: an IP address or a prefix, 0.0.0.0/0 and ::/0 for all")
	}
	if err := checkServer(r.URL.Query().Get("server")); err != nil {
		return err
	}
	lifted := smtpapp.LiftBans(r.URL.Query().Get("server"), network)
	return writeJSON(w, http.StatusOK, LiftResult{lifted})
}

// LiftResult is the answer to DELETE /smtp/bans.
type LiftResult struct {
	// Lifted is the number of bans that ended.
	Lifted int `json:"lifted"`
}
