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
	"net/http"

	"github.com/caddymail/mailgateway/smtpapp"
)

// listSessions answers GET /smtp/sessions.
func listSessions(w http.ResponseWriter, r *http.Request) error {
	app, err := runningApp[*smtpapp.App]("smtp")
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
	return writeJSON(w, http.StatusOK, struct {
		Sessions []smtpapp.SessionInfo `json:"sessions"`
	}{sessions})
}
