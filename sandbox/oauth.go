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

package sandbox

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// oauth is the memory of the authorization server.
type oauth struct {
	mu      sync.RWMutex
	access  map[string]*accessToken
	refresh map[string]*refreshToken
	listed  map[string]string // mailbox -> refresh token of the configuration
	revoked map[string]bool   // by mailbox
	grants  map[string]*grant // authorization and device codes
	answer  ConsentAnswer
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

func (o *oauth) init() {
	o.access = make(map[string]*accessToken)
	o.refresh = make(map[string]*refreshToken)
	o.revoked = make(map[string]bool)
	o.grants = make(map[string]*grant)
	o.sweepAt = 4096
}

// seed makes the configured refresh tokens known. Those that are known
// already, rotated or not, stay as they are.
func (o *oauth) seed(mailboxes map[string]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.listed = make(map[string]string, len(mailboxes))
	for mailbox, rt := range mailboxes {
		o.listed[strings.ToLower(mailbox)] = rt
		if o.refresh[rt] == nil {
			o.refresh[rt] = &refreshToken{family: &family{mailbox: mailbox, tokens: []string{rt}}}
		}
	}
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// issue makes an access token; an empty mailbox makes an application's.
func (o *oauth) issue(st *settings, mailbox, client, scope string) string {
	t := random()
	if n := st.tokenSize - len(t); n > 0 {
		var sb strings.Builder
		sb.WriteString(t)
		for sb.Len() < st.tokenSize {
			sb.WriteString(random())
		}
		t = sb.String()[:st.tokenSize]
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.access) >= o.sweepAt {
		for k, a := range o.access {
			// A token that is over is told apart from an unknown one for a
			// minute yet.
			if now.Sub(a.expires) > time.Minute {
				delete(o.access, k)
			}
		}
		o.sweepAt = 2*len(o.access) + 4096
	}
	o.access[t] = &accessToken{mailbox: mailbox, client: client, scope: scope, expires: now.Add(st.tokenLifetime)}
	return t
}

func (o *oauth) lookup(token string) (a accessToken, result string) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	p := o.access[token]
	switch {
	case p == nil || p.dead:
		return a, "bad_token"
	case !time.Now().Before(p.expires):
		return *p, "expired"
	}
	return *p, "ok"
}

// check tells whether a token lets a mailbox in.
func (o *oauth) check(token, mailbox string) string {
	a, result := o.lookup(token)
	if result != "ok" {
		return result
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	switch {
	case o.revoked[strings.ToLower(mailbox)]:
		return "bad_token"
	case a.mailbox != "" && !strings.EqualFold(a.mailbox, mailbox):
		return "wrong_mailbox"
	}
	return "ok"
}

// redeem uses a refresh token. What it returns is the mailbox, the refresh
// token to answer with (empty if none), and an error description.
func (o *oauth) redeem(st *settings, rt, client string) (mailbox, next, problem string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.refresh[rt]
	if r == nil {
		name, ok := strings.CutPrefix(rt, "rt-")
		if !ok || !strings.Contains(name, "@") {
			return "", "", "unknown"
		}
		if _, listed := o.listed[strings.ToLower(name)]; listed {
			return name, "", "unknown"
		}
		r = &refreshToken{family: &family{mailbox: name, client: client, tokens: []string{rt}}}
		o.refresh[rt] = r
	}
	f := r.family
	if f.client == "" {
		f.client = client
	}
	switch {
	case f.client != client:
		return f.mailbox, "", "unknown"
	case f.revoked || o.revoked[strings.ToLower(f.mailbox)]:
		return f.mailbox, "", "revoked"
	case r.used && st.app.RotationGrace && o.unused(r.next):
		// The answer may have been lost on its way: there is another.
	case r.used:
		// RFC 9700 section 4.14.2: a token that comes twice may be stolen,
		// so nothing of its family holds any longer.
		f.revoked = true
		o.kill(f.mailbox)
		return f.mailbox, "", "reused"
	}
	switch {
	case st.app.RotateRefreshTokens:
		r.used = true
	case st.profile.name != "microsoft":
		return f.mailbox, "", ""
	}
	// Microsoft gives a new one at each use and lets the old ones live.
	next = o.extend(f)
	r.next = next
	return f.mailbox, next, ""
}

// unused tells whether a refresh token has not been redeemed; the caller holds
// the lock.
func (o *oauth) unused(rt string) bool {
	r := o.refresh[rt]
	return r != nil && !r.used
}

// extend adds a refresh token to a family; the caller holds the lock.
func (o *oauth) extend(f *family) string {
	rt := "rt." + random()
	o.refresh[rt] = &refreshToken{family: f}
	f.tokens = append(f.tokens, rt)
	if len(f.tokens) > maxFamily {
		delete(o.refresh, f.tokens[1]) // the first is what configurations hold
		f.tokens = slices.Delete(f.tokens, 1, 2)
	}
	return rt
}

// consent begins a new family for a mailbox that its owner has let the client
// have. It ends a revocation.
func (o *oauth) consent(mailbox, client string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.revoked, strings.ToLower(mailbox))
	return o.extend(&family{mailbox: mailbox, client: client})
}

// kill ends a mailbox's access tokens; the caller holds the lock.
func (o *oauth) kill(mailbox string) int {
	n := 0
	for _, a := range o.access {
		if strings.EqualFold(a.mailbox, mailbox) && !a.dead {
			a.dead = true
			n++
		}
	}
	return n
}

// failure takes one failure if there is one for a request.
func (o *oauth) failure(mailbox string) (TokenFailure, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.fail
	if f.Times == 0 || (f.Mailbox != "" && !strings.EqualFold(f.Mailbox, mailbox)) {
		return f, false
	}
	if f.Times > 0 {
		o.fail.Times--
	}
	return f, true
}

// owner is the mailbox that a refresh token is of, for counting.
func (o *oauth) owner(rt string) string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if r := o.refresh[rt]; r != nil {
		return r.family.mailbox
	}
	name, _ := strings.CutPrefix(rt, "rt-")
	if !strings.Contains(name, "@") {
		return ""
	}
	return name
}

// RevokeMailbox ends all tokens of a mailbox, as when its owner withdraws
// consent: invalid_grant at the token endpoint, 535 at AUTH.
func (s *Sandbox) RevokeMailbox(mailbox string) {
	s.oauth.mu.Lock()
	defer s.oauth.mu.Unlock()
	s.oauth.revoked[strings.ToLower(mailbox)] = true
	s.oauth.kill(mailbox)
}

// RestoreMailbox undoes a revocation, a detected reuse included.
func (s *Sandbox) RestoreMailbox(mailbox string) {
	s.oauth.mu.Lock()
	defer s.oauth.mu.Unlock()
	delete(s.oauth.revoked, strings.ToLower(mailbox))
	for _, r := range s.oauth.refresh {
		if strings.EqualFold(r.family.mailbox, mailbox) {
			r.family.revoked, r.used = false, false
		}
	}
}

// ExpireTokens ends a mailbox's access tokens, or all if it is empty, but not
// its refresh tokens: AUTH is refused, a refresh helps. It returns their number.
func (s *Sandbox) ExpireTokens(mailbox string) int {
	s.oauth.mu.Lock()
	defer s.oauth.mu.Unlock()
	if mailbox != "" {
		return s.oauth.kill(mailbox)
	}
	n := 0
	for _, a := range s.oauth.access {
		if !a.dead {
			a.dead = true
			n++
		}
	}
	return n
}

// IssueToken gives an access token without the token endpoint.
func (s *Sandbox) IssueToken(mailbox string) string {
	return s.oauth.issue(s.settings.Load(), mailbox, "sandbox", "")
}

// FailTokens makes the token endpoint fail; the zero value ends it.
func (s *Sandbox) FailTokens(f TokenFailure) {
	s.oauth.mu.Lock()
	defer s.oauth.mu.Unlock()
	s.oauth.fail = f
}

// TokenPosts is how many requests the token endpoint had for a mailbox, of any
// grant; for all mailboxes if it is empty.
func (s *Sandbox) TokenPosts(mailbox string) uint64 {
	var posts map[string]uint64
	if mailbox == "" {
		posts = s.Stats().TokenPosts
	} else {
		posts = s.Mailbox(mailbox).TokenPosts
	}
	n := uint64(0)
	for _, v := range posts {
		n += v
	}
	return n
}
