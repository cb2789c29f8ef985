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
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
)

// MessagePage is the answer of GET /smtp/messages.
type MessagePage struct {
	messagelog.Page
	Log messagelog.Status `json:"log"`
}

// searchMessages answers GET /smtp/messages.
func searchMessages(w http.ResponseWriter, r *http.Request) error {
	q, err := messageQuery(r)
	if err != nil {
		return err
	}
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	l, err := app.MessageLog()
	if err != nil {
		return &apiError{http.StatusNotFound, err, ""}
	}
	page, err := l.Search(r.Context(), q)
	switch {
	case errors.Is(err, messagelog.ErrCursor):
		return badRequest("cursor", "%w", err)
	case err != nil:
		return &apiError{http.StatusServiceUnavailable, err, ""}
	}
	return writeJSON(w, http.StatusOK, MessagePage{page, l.Status()})
}

func messageQuery(r *http.Request) (q messagelog.Query, err error) {
	if err := onlyQuery(r, "account", "recipient", "id", "client_ip", "server", "upstream", "text", "since", "until", "failed", "limit", "cursor"); err != nil {
		return q, err
	}
	v := r.URL.Query()
	q = messagelog.Query{
		Account: v.Get("account"), Recipient: v.Get("recipient"), ID: v.Get("id"), ClientIP: v.Get("client_ip"),
		Server: v.Get("server"), Upstream: v.Get("upstream"), Text: v.Get("text"), Cursor: v.Get("cursor"),
	}
	now := time.Now()
	if q.Since, err = queryTime("since", v.Get("since"), now); err != nil {
		return q, err
	}
	if q.Until, err = queryTime("until", v.Get("until"), now); err != nil {
		return q, err
	}
	switch v.Get("failed") {
	case "", "false":
	case "true":
		q.Failed = true
	default:
		return q, badRequest("failed", "want true or false")
	}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit <= 0 {
			return q, badRequest("limit", "want a positive number")
		}
	}
	return q, nil
}

// queryTime reads a time, or a duration before now.
func queryTime(field, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := caddy.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, badRequest(field, "want a time as 2026-11-25T08:00:00Z, or a duration before now as 2h or 3d")
	}
	return now.Add(-d), nil
}
