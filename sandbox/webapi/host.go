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
	"context"
	"crypto/sha1" //nolint:gosec // names of mailboxes, no secret
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Host is what the endpoints need of the sandbox.
type Host interface {
	// Token looks an access token up: `ok`, `expired` or `bad_token`.
	Token(bearer string) (t Token, result string)
	// Fault returns what is to go wrong at a stage: `api_head` (the head of
	// the request is there), `api_body` (amid the body), `api` (all of it is
	// there, and nothing is kept), `api_end` (the message is kept) or `api_user`
	// (the question whose the token is).
	Fault(stage, mailbox string) (Fault, bool)
	// Accept keeps a message.
	Accept(Message)
	// Sleep waits, and reports whether the sandbox lives on.
	Sleep(d time.Duration) bool
	// Done is closed when the sandbox ends.
	Done() <-chan struct{}
	// Limits are those of the configuration in force.
	Limits() Limits
}

// Token is an access token.
type Token struct {
	// Mailbox is the user; empty for an application's own token.
	Mailbox string
	// Client is the OAuth client.
	Client string
	// Scope is what it is good for; empty if that was never said: anything.
	Scope string
}

// Fault is something that goes wrong on purpose.
type Fault struct {
	// Action is `reply`, `delay`, `hang`, `close` or `reset`.
	Action string
	// Reply is a status and a text. A text that begins with `{` or `<` is
	// the body as it is; else its first word is the provider's error code
	// and the others the message.
	Reply      string
	RetryAfter int // seconds; 0 is none
	// Challenge is the header WWW-Authenticate of the reply.
	Challenge  string
	Delay      time.Duration
	AfterBytes int64 // of the body, at `api_body`
}

// Message is a message as its recipients get it.
type Message struct {
	Mailbox, From string
	Rcpts         []string
	Body          []byte
	// API is `GRAPH` or `GMAIL`.
	API string
}

// Limits are limits of mailboxes, and what becomes of their messages.
type Limits struct {
	// PerMinute is the number of messages of a mailbox; 0 is no limit.
	PerMinute int
	// RecipientsPerDay is the number of recipients; 0 is no limit.
	RecipientsPerDay int
	// UnitsPerMinute are Gmail's quota units of a mailbox; 0 is no limit.
	UnitsPerMinute int
	// Resent delivers to Resent-To, Resent-Cc and Resent-Bcc too.
	Resent bool
	// Rewrap wraps text/plain again, as Gmail does.
	Rewrap bool
	// Aliases are further addresses of mailboxes: alias and mailbox. Graph leaves
	// one in From only with SendFromAlias.
	Aliases       map[string]string
	SendFromAlias bool
	// Delegates are users with Full Access and Send As: mailbox and user.
	Delegates map[string]string
	// KeepSent keeps the copies in Sent Items.
	KeepSent bool
}

// owns reports whether an address is the mailbox's, and which of the two it is.
func (l *Limits) owns(mailbox, addr string) (own, alias bool) {
	if strings.EqualFold(addr, mailbox) {
		return true, false
	}
	return false, listed(l.Aliases, addr, mailbox)
}

// lets reports whether a user may use another's mailbox.
func (l *Limits) lets(user, mailbox string) bool {
	return user != "" && listed(l.Delegates, mailbox, user)
}

func listed(m map[string]string, key, value string) bool {
	for k, v := range m {
		if strings.EqualFold(k, key) && strings.EqualFold(v, value) {
			return true
		}
	}
	return false
}

// Report is a report in a mailbox about a message that was taken and then not
// delivered.
type Report struct {
	Time    time.Time `json:"time"`
	Mailbox string    `json:"mailbox"`
	Reason  string    `json:"reason"`
	Rcpts   []string  `json:"rcpts"`
}

// Server is the endpoints.
type Server struct {
	host Host
	mux  *http.ServeMux

	mu      sync.Mutex
	busy    map[string]int // requests under way by client and mailbox
	peaks   map[string]int // the most of them, by mailbox
	boxes   map[string]*counts
	reports []Report
	sent    []Sent
	sentLen int
}

// Sent is a message in a mailbox's Sent Items, as the provider has it there: with
// its Bcc.
type Sent struct {
	Mailbox string `json:"mailbox"`
	Body    []byte `json:"body"`
}

// maxSent bounds the copies, in octets; the oldest go first.
const maxSent = 64 << 20

// keepSent puts the copy of a message into Sent Items.
func (s *Server) keepSent(mailbox string, body []byte) {
	if !s.host.Limits().KeepSent {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, Sent{mailbox, body})
	for s.sentLen += len(body); s.sentLen > maxSent && len(s.sent) > 1; s.sent = s.sent[1:] {
		s.sentLen -= len(s.sent[0].Body)
	}
}

// Sent are the copies in the Sent Items of a mailbox, in the order of sending.
func (s *Server) Sent(mailbox string) (list []Sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.sent {
		if strings.EqualFold(m.Mailbox, mailbox) {
			list = append(list, m)
		}
	}
	return list
}

// counts are what one mailbox has sent.
type counts struct {
	minute []time.Time
	spent  []time.Time // requests that cost units, in the last minute
	rcpts  int
}

// New returns the endpoints of a host.
func New(host Host) *Server {
	s := &Server{
		host: host, mux: http.NewServeMux(),
		busy: make(map[string]int), peaks: make(map[string]int), boxes: make(map[string]*counts),
	}
	s.mux.HandleFunc("POST /v1.0/me/sendMail", s.graphSend)
	s.mux.HandleFunc("POST /v1.0/users/{user}/sendMail", s.graphSend)
	s.mux.HandleFunc("GET /v1.0/me", s.graphUser)
	s.mux.HandleFunc("GET /v1.0/users/{user}", s.graphUser)
	s.mux.HandleFunc("POST /upload/gmail/v1/users/{user}/messages/send", s.gmailUpload)
	s.mux.HandleFunc("POST /gmail/v1/users/{user}/messages/send", s.gmailRaw)
	s.mux.HandleFunc("GET /sent/{mailbox}", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, s.Sent(r.PathValue("mailbox")))
	})
	s.mux.HandleFunc("GET /reports", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Reports()) })
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Reports are the reports in all mailboxes.
func (s *Server) Reports() []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Report{}, s.reports...)
}

// Peak is the greatest number of requests of the mailbox that were served at
// a time.
func (s *Server) Peak(mailbox string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peaks[strings.ToLower(mailbox)]
}

// ObjectID is the immutable identifier of a mailbox at Entra: the sandbox
// makes it of the address.
func ObjectID(mailbox string) string {
	h := sha1.Sum([]byte(strings.ToLower(mailbox))) //nolint:gosec // see above
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// bearer looks the token of a request up.
func (s *Server) bearer(r *http.Request) (Token, bool) {
	b, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Token{}, false
	}
	t, result := s.host.Token(b)
	return t, result == "ok"
}

// granted reports whether a token has one of the scopes, by the last segment of
// their paths: providers change what stands before it.
func (t Token) granted(names ...string) bool {
	if t.Scope == "" {
		return true
	}
	for sc := range strings.FieldsSeq(t.Scope) {
		last := sc[strings.LastIndexByte(strings.TrimSuffix(sc, "/"), '/')+1:]
		for _, n := range names {
			if strings.EqualFold(last, n) || last == ".default" {
				return true
			}
		}
	}
	return false
}

// audience reports whether a token is for the named resource. Scopes with a
// resource in front say so; others say nothing.
func (t Token) audience(host string) bool {
	for sc := range strings.FieldsSeq(t.Scope) {
		if u, err := url.Parse(sc); err == nil && u.Host != "" {
			return strings.Contains(u.Host, host)
		}
	}
	return true
}

// enter takes a place of client and mailbox, or reports that there is none.
func (s *Server) enter(client, mailbox string, most int) bool {
	key := client + " " + strings.ToLower(mailbox)
	s.mu.Lock()
	defer s.mu.Unlock()
	if most > 0 && s.busy[key] >= most {
		return false
	}
	s.busy[key]++
	s.peaks[strings.ToLower(mailbox)] = max(s.peaks[strings.ToLower(mailbox)], s.busy[key])
	return true
}

func (s *Server) leave(client, mailbox string) {
	s.mu.Lock()
	s.busy[client+" "+strings.ToLower(mailbox)]--
	s.mu.Unlock()
}

// box returns the counts of a mailbox; the caller holds the lock.
func (s *Server) box(mailbox string) *counts {
	key := strings.ToLower(mailbox)
	if s.boxes[key] == nil {
		s.boxes[key] = new(counts)
	}
	return s.boxes[key]
}

// lastMinute drops what is older than a minute.
func lastMinute(times []time.Time, now time.Time) []time.Time {
	for len(times) > 0 && now.Sub(times[0]) >= time.Minute {
		times = times[1:]
	}
	return times
}

// report puts a report into the mailbox.
func (s *Server) report(mailbox, reason string, rcpts []string) {
	s.mu.Lock()
	s.reports = append(s.reports, Report{Time: time.Now(), Mailbox: mailbox, Reason: reason, Rcpts: rcpts})
	s.mu.Unlock()
}

// fault lets happen what is to happen at a stage. It reports whether the
// request has been answered.
func (s *Server) fault(w http.ResponseWriter, r *http.Request, stage, mailbox string, fail func(http.ResponseWriter, int, string, string)) (answered bool) {
	f, ok := s.host.Fault(stage, mailbox)
	if !ok {
		return false
	}
	if stage == "api_body" {
		if _, err := io.CopyN(io.Discard, r.Body, f.AfterBytes); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	switch f.Action {
	case "delay":
		return !s.host.Sleep(f.Delay)
	case "hang":
		select {
		case <-r.Context().Done():
		case <-s.host.Done():
		}
		panic(http.ErrAbortHandler)
	case "reset":
		if h, ok := w.(http.Hijacker); ok {
			if c, _, err := h.Hijack(); err == nil {
				if t, ok := c.(*net.TCPConn); ok {
					_ = t.SetLinger(0)
				}
				_ = c.Close()
				return true
			}
		}
		panic(http.ErrAbortHandler)
	case "reply":
		status, err := strconv.Atoi(f.Reply[:3])
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		text := strings.TrimSpace(f.Reply[3:])
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		if f.Challenge != "" {
			w.Header().Set("WWW-Authenticate", f.Challenge)
		}
		switch {
		case strings.HasPrefix(text, "<"):
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		case strings.HasPrefix(text, "{"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		case text == "":
			w.WriteHeader(status)
		default:
			code, message, _ := strings.Cut(text, " ")
			fail(w, status, code, message)
		}
		return true
	}
	panic(http.ErrAbortHandler) // close
}

// readAll reads the body up to a limit. More than that is not read on: a
// client that goes on writing is cut off, as HTTP servers do.
func readAll(ctx context.Context, r io.Reader, limit int64) (body []byte, tooBig bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return body, int64(len(body)) > limit, err
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
