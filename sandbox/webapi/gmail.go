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

package webapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	gmailMaxUpload = 36_700_160 // discovery document, revision 20261005
	gmailMaxJSON   = 5 << 20    // report: EmailEngine switches to the upload at 3.5 MB
	gmailSendUnits = 100        // doc: Gmail API usage limits
	// gmailWrap is where text is wrapped again (report: gmail-oauth2-tools#32).
	gmailWrap = 72
)

// gmailRow is one refusal of the endpoint, with its source.
type gmailRow struct {
	status                  int
	reason, status2, domain string
	message                 string
	// source is `doc`, `report` or `assumed`, and where.
	source string
	// detail is the reason of a google.rpc.ErrorInfo.
	detail string
}

// gmailRows is everything that Gmail's endpoint says by itself, by the cause.
var gmailRows = map[string]gmailRow{
	"token":      {401, "authError", "UNAUTHENTICATED", "global", "Invalid Credentials", "doc: Resolve errors", ""},
	"scope":      {403, "insufficientPermissions", "PERMISSION_DENIED", "global", "Request had insufficient authentication scopes.", "doc: Resolve errors; a box that was not ticked", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"},
	"delegation": {403, "forbidden", "PERMISSION_DENIED", "global", "Delegation denied for %s", "report: many; userId is not the token's user", ""},
	"nosub":      {400, "failedPrecondition", "FAILED_PRECONDITION", "global", "Precondition check failed.", "report: a service account's token without a user", ""},
	"rcpts":      {400, "invalidArgument", "INVALID_ARGUMENT", "global", "Recipient address required", "report: many", ""},
	"raw":        {400, "invalidArgument", "INVALID_ARGUMENT", "global", "'raw' RFC822 payload message string or uploading message via /upload/* URL required", "report: many", ""},
	"upload":     {400, "badRequest", "INVALID_ARGUMENT", "global", "Invalid upload request", "assumed", ""},
	"type":       {400, "badContent", "INVALID_ARGUMENT", "global", "Media type '%s' is not supported. Valid media types: [message/*]", "doc: discovery document, the words assumed", ""},
	"size":       {413, "uploadTooLarge", "", "global", "Request Entity Too Large", "doc: Resolve errors, maxSize of the discovery document", ""},
	"units":      {429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", "usageLimits", "User-rate limit exceeded.  Retry after %s", "doc: Resolve errors; the deadline in the message from reports", ""},
	"sending":    {429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", "usageLimits", "User-rate limit exceeded.  Retry after %s (Mail sending)", "report: the account's sending limit", ""},
}

// gmailRefuse answers with a row of the table.
func gmailRefuse(w http.ResponseWriter, cause string, args ...any) {
	row := gmailRows[cause]
	message := row.message
	if len(args) > 0 {
		message = fmt.Sprintf(message, args...)
	}
	gmailAnswer(w, row, message)
}

// gmailFail answers with an error as Gmail words them; the code is the reason.
func gmailFail(w http.ResponseWriter, status int, code, message string) {
	gmailAnswer(w, gmailRow{status: status, reason: code, domain: "global"}, message)
}

func gmailAnswer(w http.ResponseWriter, row gmailRow, message string) {
	e := map[string]any{
		"code": row.status, "message": message,
		"errors": []map[string]string{{"domain": row.domain, "reason": row.reason, "message": message}},
	}
	if row.status2 != "" {
		e["status"] = row.status2
	}
	if row.detail != "" {
		e["details"] = []map[string]any{{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": row.detail, "domain": "googleapis.com",
			"metadata": map[string]string{"service": "gmail.googleapis.com"},
		}}
	}
	writeJSON(w, row.status, map[string]any{"error": e})
}

// gmailUser checks the token and returns the mailbox that the path names.
func (s *Server) gmailUser(w http.ResponseWriter, r *http.Request) (Token, string, bool) {
	t, ok := s.bearer(r)
	user := r.PathValue("user")
	switch {
	case !ok:
		gmailRefuse(w, "token")
	case !t.granted("gmail.send", "gmail.compose", "gmail.modify", "mail.google.com"):
		gmailRefuse(w, "scope")
	case t.Mailbox == "":
		gmailRefuse(w, "nosub")
	case user != "me" && !strings.EqualFold(user, t.Mailbox):
		gmailRefuse(w, "delegation", user)
	default:
		return t, t.Mailbox, true
	}
	return t, "", false
}

// gmailUpload is messages.send with the message as it is.
func (s *Server) gmailUpload(w http.ResponseWriter, r *http.Request) {
	s.gmailSend(w, r, gmailMaxUpload, func(body []byte) ([]byte, string) {
		switch {
		case r.URL.Query().Get("uploadType") != "media":
			return nil, "upload"
		case !strings.HasPrefix(r.Header.Get("Content-Type"), "message/"):
			return nil, "type"
		}
		return body, ""
	})
}

// gmailRaw is messages.send with the message in JSON.
func (s *Server) gmailRaw(w http.ResponseWriter, r *http.Request) {
	s.gmailSend(w, r, gmailMaxJSON, func(body []byte) ([]byte, string) {
		var m struct {
			Raw string `json:"raw"`
		}
		if json.Unmarshal(body, &m) != nil || m.Raw == "" {
			return nil, "raw"
		}
		msg, err := base64.URLEncoding.DecodeString(m.Raw)
		if err != nil {
			if msg, err = base64.RawURLEncoding.DecodeString(m.Raw); err != nil {
				return nil, "raw"
			}
		}
		return msg, ""
	})
}

func (s *Server) gmailSend(w http.ResponseWriter, r *http.Request, limit int64, message func(body []byte) ([]byte, string)) {
	t, mailbox, ok := s.gmailUser(w, r)
	if !ok {
		return
	}
	s.enter(t.Client, mailbox, 0)
	defer s.leave(t.Client, mailbox)
	if s.fault(w, r, "api_head", mailbox, gmailFail) {
		return
	}
	if at, over := s.spend(mailbox, gmailSendUnits); over {
		gmailRefuse(w, "units", at.UTC().Format("2006-01-02T15:04:05.000Z"))
		return
	}
	if s.fault(w, r, "api_body", mailbox, gmailFail) {
		return
	}
	body, tooBig, err := readAll(r.Context(), r.Body, limit)
	switch {
	case tooBig:
		gmailRefuse(w, "size")
		return
	case err != nil:
		return // the client broke off: there is no message
	}
	if s.fault(w, r, "api", mailbox, gmailFail) {
		return
	}
	msg, cause := message(body)
	if cause == "type" {
		gmailRefuse(w, cause, r.Header.Get("Content-Type"))
		return
	}
	if cause != "" {
		gmailRefuse(w, cause)
		return
	}
	fields, rest := split(msg)
	rcpts := recipients(fields, s.host.Limits().Resent)
	if len(rcpts) == 0 {
		gmailRefuse(w, "rcpts")
		return
	}
	if reason := s.overLimit(mailbox, len(rcpts)); reason == "recipients per day" {
		gmailRefuse(w, "sending", time.Now().Add(24*time.Hour).UTC().Format("2006-01-02T15:04:05.000Z"))
		return
	}
	if s.host.Limits().Rewrap {
		fields, rest = rewrap(fields, rest)
	}
	// The copy in Sent looks right (report: gmail-oauth2-tools#32): it is what came.
	s.keepSent(mailbox, msg)
	s.host.Accept(Message{Mailbox: mailbox, From: mailbox, Rcpts: rcpts, Body: without(s.gmailFrom(fields, mailbox), rest, "Bcc"), API: "GMAIL"})
	if s.fault(w, r, "api_end", mailbox, gmailFail) {
		return
	}
	id := strings.ReplaceAll(requestID(), "-", "")[:16]
	writeJSON(w, http.StatusOK, map[string]string{"id": id, "threadId": id})
}

// spend takes units of the mailbox's minute, or says when there are some again.
func (s *Server) spend(mailbox string, units int) (time.Time, bool) {
	most := s.host.Limits().UnitsPerMinute
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.box(mailbox)
	if b.spent = lastMinute(b.spent, now); most > 0 && (len(b.spent)+1)*units > most {
		return b.spent[0].Add(time.Minute), true
	}
	b.spent = append(b.spent, now)
	return now, false
}

// gmailFrom puts the mailbox into From where another address stands that is no
// alias of it (report: smog, gmailsend and others).
func (s *Server) gmailFrom(fields []field, mailbox string) []field {
	from, ok := first(fields, "From")
	if !ok {
		return fields
	}
	limits := s.host.Limits()
	if list := addresses(from); len(list) == 1 {
		if own, alias := limits.owns(mailbox, list[0]); own || alias {
			return fields
		}
	}
	return sendAs(fields, mailbox)
}

// rewrap wraps the text of a message that is text/plain as a whole again
// (report: gmail-oauth2-tools#32), as Gmail does on the way out.
func rewrap(fields []field, rest []byte) ([]field, []byte) {
	if kind, ok := first(fields, "Content-Type"); ok && !strings.HasPrefix(strings.ToLower(kind), "text/plain") {
		return fields, rest
	}
	if enc, ok := first(fields, "Content-Transfer-Encoding"); ok && !strings.EqualFold(enc, "7bit") && !strings.EqualFold(enc, "8bit") {
		return fields, rest
	}
	var b strings.Builder
	for line := range strings.Lines(string(rest)) {
		text := strings.TrimRight(line, "\r\n")
		for len(text) > gmailWrap {
			i := strings.LastIndexByte(text[:gmailWrap+1], ' ')
			if i <= 0 {
				break
			}
			b.WriteString(text[:i] + "\r\n")
			text = text[i+1:]
		}
		b.WriteString(text + line[len(strings.TrimRight(line, "\r\n")):])
	}
	return fields, []byte(b.String())
}
