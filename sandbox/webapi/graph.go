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
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	graphMaxBody     = 4 << 20
	graphConcurrency = 4
)

// graphRow is one refusal of the endpoint, with its source.
type graphRow struct {
	status        int
	code, message string
	// source is `doc`, `code`, `report` or `assumed`, and where.
	source string
}

// graphRows is everything that Graph's endpoint says by itself, by the cause.
var graphRows = map[string]graphRow{
	"token":     {401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.", "report: S2G, EA; an Outlook token at Graph has the same answer"},
	"scope":     {403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.", "doc: Error responses"},
	"user":      {403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.", "doc: Send Outlook messages from another user, which takes Mail.Send.Shared and Full Access"},
	"type":      {400, "RequestBodyRead", "The content type is not supported.", "assumed"},
	"base64":    {400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.", "code: SMTP2Graph#39"},
	"rcpts":     {400, "ErrorInvalidRecipients", "At least one recipient is not valid.", "report: SMTP2Graph#30"},
	"from":      {403, "ErrorSendAsDenied", "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account.", "report: SMTP2Graph#28"},
	"size":      {413, "", "<html><head><title>413 Request Entity Too Large</title></head></html>", "doc: Create message, the body as HTML from reports"},
	"places":    {429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.", "report: Nylas help page"},
	"no_length": {411, "LengthRequired", "Content-Length is required.", "doc: Error responses"},
}

// graphRefuse answers with a row of the table.
func graphRefuse(w http.ResponseWriter, cause string) {
	row := graphRows[cause]
	if row.code == "" {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(row.status)
		_, _ = w.Write([]byte(row.message))
		return
	}
	graphFail(w, row.status, row.code, row.message)
}

// graphFail answers with an error as Graph words them (doc: Error responses).
func graphFail(w http.ResponseWriter, status int, code, message string) {
	id := w.Header().Get("request-id")
	writeJSON(w, status, map[string]any{"error": map[string]any{
		"code": code, "message": message,
		"innerError": map[string]string{
			"date": time.Now().UTC().Format("2006-01-02T15:04:05"), "request-id": id, "client-request-id": id,
		},
	}})
}

// graphMailbox is the mailbox that the path names, and whether the token may
// use it. An alias there is no user's name (assumed: not documented to resolve).
func (s *Server) graphMailbox(r *http.Request, t Token) (string, bool) {
	user := r.PathValue("user")
	limits := s.host.Limits()
	switch {
	case user == "":
		return t.Mailbox, t.Mailbox != "" // `me` needs a user
	case t.Mailbox == "":
		return user, true // an application's own token
	case strings.EqualFold(user, t.Mailbox), strings.EqualFold(user, ObjectID(t.Mailbox)):
		return t.Mailbox, true
	}
	return user, limits.lets(t.Mailbox, user) && t.granted("Mail.Send.Shared")
}

// graphSend is sendMail with a MIME body.
func (s *Server) graphSend(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("request-id", requestID())
	if id := r.Header.Get("client-request-id"); id != "" {
		w.Header().Set("client-request-id", id)
	}
	t, ok := s.bearer(r)
	if !ok {
		graphRefuse(w, "token")
		return
	}
	mailbox, mine := s.graphMailbox(r, t)
	switch {
	case !t.audience("graph"):
		graphRefuse(w, "token")
		return
	case !t.granted("Mail.Send", "Mail.Send.Shared"):
		graphRefuse(w, "scope")
		return
	case !mine:
		graphRefuse(w, "user")
		return
	}
	if !s.enter(t.Client, mailbox, graphConcurrency) {
		// The header is there mostly, not always (zammad#5565).
		w.Header().Set("RateLimit-Exceeded", "MailboxConcurrency")
		w.Header().Set("Retry-After", "1")
		graphRefuse(w, "places")
		return
	}
	defer s.leave(t.Client, mailbox)
	if s.fault(w, r, "api_head", mailbox, graphFail) {
		return
	}
	if r.ContentLength < 0 {
		graphRefuse(w, "no_length")
		return
	}
	if s.fault(w, r, "api_body", mailbox, graphFail) {
		return
	}
	body, tooBig, err := readAll(r.Context(), r.Body, graphMaxBody)
	switch {
	case tooBig:
		graphRefuse(w, "size")
		return
	case err != nil:
		return
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain"):
		graphRefuse(w, "type")
		return
	}
	if s.fault(w, r, "api", mailbox, graphFail) {
		return
	}
	msg, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(body)))
	if err != nil {
		graphRefuse(w, "base64")
		return
	}
	fields, rest := split(msg)
	rcpts := recipients(fields, s.host.Limits().Resent)
	if len(rcpts) == 0 {
		graphRefuse(w, "rcpts")
		return
	}
	fields, allowed := s.graphFrom(fields, mailbox, t)
	if !allowed {
		graphRefuse(w, "from")
		return
	}
	s.keepSent(mailbox, without(fields, rest, ":")) // no field has that name: Bcc stays
	// Limits show after 202, as a report in the mailbox (page text of 202).
	if reason := s.overLimit(mailbox, len(rcpts)); reason != "" {
		s.report(mailbox, reason, rcpts)
	} else {
		s.host.Accept(Message{Mailbox: mailbox, From: mailbox, Rcpts: rcpts, Body: without(fields, rest, "Bcc"), API: "GRAPH"})
	}
	if s.fault(w, r, "api_end", mailbox, graphFail) {
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// graphFrom reports whether the mailbox may send with that From: its own, an
// alias, none, or one that the token's user has Send As for (doc: Send Outlook
// messages from another user). In an alias's place stands the mailbox's own address
// afterwards, unless the tenant has switched that off (report: smtp-oauth-relay#80).
// An "@" in an unquoted display name is taken for another's address (SMTP2Graph#28).
func (s *Server) graphFrom(fields []field, mailbox string, t Token) ([]field, bool) {
	from, ok := first(fields, "From")
	if !ok {
		return fields, true
	}
	list := addresses(from)
	name, _, angle := strings.Cut(from, "<")
	if len(list) != 1 || angle && strings.Contains(name, "@") && !strings.Contains(name, `"`) {
		return fields, false
	}
	limits := s.host.Limits()
	switch own, alias := limits.owns(mailbox, list[0]); {
	case alias && !limits.SendFromAlias:
		return sendAs(fields, mailbox), true
	case own, alias:
		return fields, true
	}
	return fields, limits.lets(t.Mailbox, list[0]) && t.granted("Mail.Send.Shared")
}

// sendAs puts an address into the From fields.
func sendAs(fields []field, mailbox string) []field {
	out := slices.Clone(fields)
	for i := range out {
		if strings.EqualFold(out[i].name, "From") {
			out[i].raw = []byte("From: " + mailbox + "\r\n")
		}
	}
	return out
}

// overLimit counts a message, and says which limit of the mailbox it is over.
func (s *Server) overLimit(mailbox string, rcpts int) string {
	limits := s.host.Limits()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.box(mailbox)
	b.minute = append(lastMinute(b.minute, now), now)
	switch {
	case limits.PerMinute > 0 && len(b.minute) > limits.PerMinute:
		return "messages per minute"
	case limits.RecipientsPerDay > 0 && b.rcpts+rcpts > limits.RecipientsPerDay:
		return "recipients per day"
	}
	b.rcpts += rcpts
	return ""
}

// graphUser is the profile of a mailbox.
func (s *Server) graphUser(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("request-id", requestID())
	t, ok := s.bearer(r)
	if !ok || !t.audience("graph") {
		graphRefuse(w, "token")
		return
	}
	mailbox, mine := s.graphMailbox(r, t)
	if s.fault(w, r, "api_user", mailbox, graphFail) {
		return
	}
	if !mine || !t.granted("User.Read", "User.Read.All") {
		graphRefuse(w, "scope")
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"id": ObjectID(mailbox), "mail": mailbox, "userPrincipalName": mailbox})
}

// requestID is a random identifier in the form of a UUID.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
