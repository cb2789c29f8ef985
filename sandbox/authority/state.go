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

package authority

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Server is the authorization server.
type Server struct {
	host Host

	mu      sync.RWMutex
	access  map[string]*accessToken
	refresh map[string]*refreshToken
	listed  map[string]string // mailbox -> refresh token of the configuration
	revoked map[string]bool   // by mailbox
	grants  map[string]*grant // authorization and device codes
	people  ConsentAnswer
	sweepAt int
	fail    TokenFailure
}

type accessToken struct {
	mailbox string // empty: any, an application's own token
	client  string
	scope   string // empty: never said
	expires time.Time
	dead    bool
}

// family is a refresh token and all that came of it by rotation.
type family struct {
	mailbox, client string
	revoked         bool
	tokens          []string
}

type refreshToken struct {
	family *family
	used   bool
	next   string // what it was last answered with
}

// grant is a pending authorization: a code or a device code.
type grant struct {
	client, mailbox, redirect, challenge, scope, userCode, nonce string
	device                                                       bool
	polls                                                        int
	expires                                                      time.Time
	answer                                                       ConsentAnswer
}

// TokenFailure is how the token endpoint fails on purpose.
type TokenFailure struct {
	// Times is how many requests fail; -1 is all.
	Times int `json:"times"`
	// Delay is how long the answer takes. Default: 0.
	Delay caddy.Duration `json:"delay,omitempty"`
	// Status is the HTTP status; 200 answers as usual, after Delay.
	// Default: 503.
	Status int `json:"status,omitempty"`
	// HTML answers with a web page in place of JSON.
	HTML bool `json:"html,omitempty"`
	// Error is the OAuth error code. Default: `temporarily_unavailable`.
	Error string `json:"error,omitempty"`
	// RetryAfter is sent as the header of that name, in seconds. Default: none.
	RetryAfter int `json:"retry_after,omitempty"`
	// Hang never answers.
	Hang bool `json:"hang,omitempty"`
	// Mailbox limits it to one mailbox's requests. Default: any.
	Mailbox string `json:"mailbox,omitempty"`
}

const maxFamily = 50

// New returns a server that knows no mailbox yet.
func New(h Host) *Server {
	return &Server{
		host:    h,
		access:  make(map[string]*accessToken),
		refresh: make(map[string]*refreshToken),
		revoked: make(map[string]bool),
		grants:  make(map[string]*grant),
		sweepAt: 4096,
	}
}

// Seed makes the configured refresh tokens known. Those that are known
// already, rotated or not, stay as they are.
func (s *Server) Seed(mailboxes map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed = make(map[string]string, len(mailboxes))
	for mailbox, rt := range mailboxes {
		s.listed[strings.ToLower(mailbox)] = rt
		if s.refresh[rt] == nil {
			s.refresh[rt] = &refreshToken{family: &family{mailbox: mailbox, tokens: []string{rt}}}
		}
	}
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Issue makes an access token without the token endpoint; an empty mailbox makes an
// application's.
func (s *Server) Issue(mailbox, client, scope string) string {
	st := s.host.Settings()
	t := random()
	if n := st.TokenSize - len(t); n > 0 {
		var sb strings.Builder
		sb.WriteString(t)
		for sb.Len() < st.TokenSize {
			sb.WriteString(random())
		}
		t = sb.String()[:st.TokenSize]
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.access) >= s.sweepAt {
		for k, a := range s.access {
			// A token that is over is told apart from an unknown one for a
			// minute yet.
			if now.Sub(a.expires) > time.Minute {
				delete(s.access, k)
			}
		}
		s.sweepAt = 2*len(s.access) + 4096
	}
	s.access[t] = &accessToken{mailbox: mailbox, client: client, scope: scope, expires: now.Add(st.TokenLifetime)}
	return t
}

func (s *Server) lookup(token string) (a accessToken, result string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.access[token]
	switch {
	case p == nil || p.dead:
		return a, "bad_token"
	case !time.Now().Before(p.expires):
		return *p, "expired"
	}
	return *p, "ok"
}

// Token says what an access token is good for, and `ok`, `expired` or `bad_token`.
func (s *Server) Token(token string) (mailbox, client, scope, result string) {
	a, result := s.lookup(token)
	if result == "ok" && a.mailbox != "" {
		result = s.Check(token, a.mailbox)
	}
	return a.mailbox, a.client, a.scope, result
}

// Check reports whether a token lets a mailbox in: `ok`, `expired`, `bad_token` or
// `wrong_mailbox`.
func (s *Server) Check(token, mailbox string) string {
	a, result := s.lookup(token)
	if result != "ok" {
		return result
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.revoked[strings.ToLower(mailbox)]:
		return "bad_token"
	case a.mailbox != "" && !strings.EqualFold(a.mailbox, mailbox):
		return "wrong_mailbox"
	}
	return "ok"
}

// redeem uses a refresh token. What it returns is the mailbox, the refresh
// token to answer with (empty if none), and an error description.
func (s *Server) redeem(st Settings, rt, client string) (mailbox, next, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refresh[rt]
	if r == nil {
		name, ok := strings.CutPrefix(rt, "rt-")
		if !ok || !strings.Contains(name, "@") {
			return "", "", "unknown"
		}
		if _, listed := s.listed[strings.ToLower(name)]; listed {
			return name, "", "unknown"
		}
		r = &refreshToken{family: &family{mailbox: name, client: client, tokens: []string{rt}}}
		s.refresh[rt] = r
	}
	f := r.family
	if f.client == "" {
		f.client = client
	}
	switch {
	case f.client != client:
		return f.mailbox, "", "unknown"
	case f.revoked || s.revoked[strings.ToLower(f.mailbox)]:
		return f.mailbox, "", "revoked"
	case r.used && st.RotationGrace && s.unused(r.next):
		// The answer may have been lost on its way: there is another.
	case r.used:
		// RFC 9700 section 4.14.2: a token that comes twice may be stolen,
		// so nothing of its family holds any longer.
		f.revoked = true
		s.kill(f.mailbox)
		return f.mailbox, "", "reused"
	}
	switch {
	case st.RotateRefreshTokens:
		r.used = true
	case !st.Microsoft:
		return f.mailbox, "", ""
	}
	// Microsoft gives a new one at each use and lets the old ones live.
	next = s.extend(f)
	r.next = next
	return f.mailbox, next, ""
}

// unused reports whether a refresh token has not been redeemed; the caller holds
// the lock.
func (s *Server) unused(rt string) bool {
	r := s.refresh[rt]
	return r != nil && !r.used
}

// extend adds a refresh token to a family; the caller holds the lock.
func (s *Server) extend(f *family) string {
	rt := "rt." + random()
	s.refresh[rt] = &refreshToken{family: f}
	f.tokens = append(f.tokens, rt)
	if len(f.tokens) > maxFamily {
		delete(s.refresh, f.tokens[1]) // the first is what configurations hold
		f.tokens = slices.Delete(f.tokens, 1, 2)
	}
	return rt
}

// consent begins a new family for a mailbox that its owner has let the client
// have. It ends a revocation.
func (s *Server) consent(mailbox, client string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.revoked, strings.ToLower(mailbox))
	return s.extend(&family{mailbox: mailbox, client: client})
}

// kill ends a mailbox's access tokens; the caller holds the lock.
func (s *Server) kill(mailbox string) int {
	n := 0
	for _, a := range s.access {
		if strings.EqualFold(a.mailbox, mailbox) && !a.dead {
			a.dead = true
			n++
		}
	}
	return n
}

// failure takes one failure if there is one for a request.
func (s *Server) failure(mailbox string) (TokenFailure, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fail
	if f.Times == 0 || (f.Mailbox != "" && !strings.EqualFold(f.Mailbox, mailbox)) {
		return f, false
	}
	if f.Times > 0 {
		s.fail.Times--
	}
	return f, true
}

// owner is the mailbox that a refresh token is of, for counting.
func (s *Server) owner(rt string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.refresh[rt]; r != nil {
		return r.family.mailbox
	}
	name, _ := strings.CutPrefix(rt, "rt-")
	if !strings.Contains(name, "@") {
		return ""
	}
	return name
}

// Revoke ends all tokens of a mailbox, as when its owner withdraws
// consent: invalid_grant at the token endpoint, 535 at AUTH.
func (s *Server) Revoke(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[strings.ToLower(mailbox)] = true
	s.kill(mailbox)
}

// Restore undoes a revocation, a detected reuse included.
func (s *Server) Restore(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.revoked, strings.ToLower(mailbox))
	for _, r := range s.refresh {
		if strings.EqualFold(r.family.mailbox, mailbox) {
			r.family.revoked, r.used = false, false
		}
	}
}

// Expire ends a mailbox's access tokens, or all if it is empty, but not
// its refresh tokens: AUTH is refused, a refresh helps. It returns their number.
func (s *Server) Expire(mailbox string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mailbox != "" {
		return s.kill(mailbox)
	}
	n := 0
	for _, a := range s.access {
		if !a.dead {
			a.dead = true
			n++
		}
	}
	return n
}

// FailTokens makes the token endpoint fail; the zero value ends it.
func (s *Server) FailTokens(f TokenFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}
