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
	"time"

	"github.com/caddymail/mailgateway/sandbox/authority"
)

// ConsentAnswer is what people answer at the authorization endpoint.
type ConsentAnswer = authority.ConsentAnswer

// TokenFailure is how the token endpoint fails on purpose.
type TokenFailure = authority.TokenFailure

// oauthHost is the sandbox as its authorization server sees it.
type oauthHost struct{ s *Sandbox }

// Settings implements authority.Host.
func (h oauthHost) Settings() authority.Settings {
	st := h.s.settings.Load()
	return authority.Settings{
		Microsoft: st.profile.name == "microsoft", TokenLifetime: st.tokenLifetime, TokenSize: st.tokenSize,
		TokenDelay: time.Duration(st.app.TokenDelay), RotateRefreshTokens: st.app.RotateRefreshTokens, RotationGrace: st.app.RotationGrace,
		Clients: st.clients, Keys: st.keys,
	}
}

// URL implements authority.Host.
func (h oauthHost) URL() string { return h.s.HTTPURL() }

// Posted implements authority.Host.
func (h oauthHost) Posted(mailbox, grantType string) { h.s.rec.TokenPost(mailbox, grantType) }

// Sleep implements authority.Host.
func (h oauthHost) Sleep(d time.Duration) bool { return h.s.sleep(d) }

// Done implements authority.Host.
func (h oauthHost) Done() <-chan struct{} { return h.s.done }

// AnswerConsents makes all that is answered from now on be this; the zero value
// is the default.
func (s *Sandbox) AnswerConsents(a ConsentAnswer) { s.oauth.AnswerConsents(a) }

// RevokeMailbox ends all tokens of a mailbox, as when its owner withdraws
// consent: invalid_grant at the token endpoint, 535 at AUTH.
func (s *Sandbox) RevokeMailbox(mailbox string) { s.oauth.Revoke(mailbox) }

// RestoreMailbox undoes a revocation, a detected reuse included.
func (s *Sandbox) RestoreMailbox(mailbox string) { s.oauth.Restore(mailbox) }

// ExpireTokens ends a mailbox's access tokens, or all if it is empty, but not
// its refresh tokens: AUTH is refused, a refresh helps. It returns their number.
func (s *Sandbox) ExpireTokens(mailbox string) int { return s.oauth.Expire(mailbox) }

// IssueToken gives an access token without the token endpoint.
func (s *Sandbox) IssueToken(mailbox string) string { return s.oauth.Issue(mailbox, "sandbox", "") }

// IssueScoped gives one that is good for some scopes alone.
func (s *Sandbox) IssueScoped(mailbox, scope string) string {
	return s.oauth.Issue(mailbox, "sandbox", scope)
}

// FailTokens makes the token endpoint fail; the zero value ends it.
func (s *Sandbox) FailTokens(f TokenFailure) { s.oauth.FailTokens(f) }

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

var _ authority.Host = oauthHost{}
