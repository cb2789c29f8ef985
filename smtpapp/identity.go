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

package smtpapp

import (
	"errors"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/servertls"
	"github.com/caddymail/mailgateway/relay"
)

// binding is what lets a session send. A session that logged in has it from
// then on, one that a certificate or a network speaks for from its first MAIL.
// It must still hold at each MAIL that follows: a session is as good as the
// credential that opened it.
type binding struct {
	by         bindingKind
	name       string // the account's
	credential accounts.Credential
}

type bindingKind uint8

const (
	byNothing bindingKind = iota
	byPassword
	byCertificate
	byNetwork
)

// identify finds the account that a message would be sent as: who logged in,
// whom the client certificate names, or whom the network is trusted as. Where
// that holds no longer, the session ends (RFC 5321 section 3.8: 421). A network
// whose clients name the account binds none: it is asked for each message.
func (s *session) identify(g *generation, opts *smtp.MailOptions) (*accounts.Account, error) {
	by, a, err := s.candidate(g, opts)
	if err != nil {
		return nil, relay.ReplyAuthOverloaded // nothing is known of the account
	}
	if s.bound.by != byNothing {
		if by != s.bound.by || a == nil || a.Paused || !s.bound.credential.Holds(a) {
			return nil, errLoginGone
		}
		return a, nil
	}
	switch {
	case a == nil:
		return nil, relay.ReplyAuthRequired
	case a.Paused:
		return nil, relay.ReplyPaused
	}
	if t, _ := g.policy.trusts(s.remote); by == byNetwork && t.submitter {
		return a, nil
	}
	s.bound = binding{by: by, name: a.Name, credential: a.Trusted()}
	return a, nil
}

// allow is identify for a sender, and tells of what it refuses.
func (s *session) allow(g *generation, from string, opts *smtp.MailOptions) (*accounts.Account, error) {
	a, err := s.identify(g, opts)
	if err == nil && !a.MaySend(from) {
		err = relay.ReplySenderRefused
	}
	if err != nil {
		s.mailRefused(g, from, opts, err)
	}
	return a, err
}

// candidate is the account that the client would send as, nil if it is not there;
// the error is that of a source that cannot be read.
func (s *session) candidate(g *generation, opts *smtp.MailOptions) (bindingKind, *accounts.Account, error) {
	get := func(name string) (*accounts.Account, error) {
		a, err := g.directory.Get(s.ctx, name)
		if errors.Is(err, accounts.ErrNotFound) {
			return nil, nil
		}
		return a, err
	}
	if s.bound.by == byPassword {
		a, err := get(s.bound.name)
		return byPassword, a, err
	}
	if s.certificateCounts(g) {
		for _, name := range servertls.LoginNames(s.conn.TLS().PeerCertificates[0]) {
			if a, err := get(name); a != nil || err != nil {
				return byCertificate, a, err
			}
		}
	}
	if t, ok := g.policy.trusts(s.remote); ok {
		a, err := get(t.accountFor(opts))
		return byNetwork, a, err
	}
	return byNothing, nil, nil
}

// certificateCounts reports whether the client's certificate is a login. Only
// a chain that leads to a configured CA proves anything, and only as long as
// that CA is configured and the certificate has not expired.
func (s *session) certificateCounts(g *generation) bool {
	if !g.policy.certLogin || s.handshake == nil || s.handshake.clientAuth != g.policy.clientAuth {
		return false
	}
	state := s.conn.TLS()
	return state != nil && len(state.VerifiedChains) > 0 && time.Now().Before(state.PeerCertificates[0].NotAfter)
}
