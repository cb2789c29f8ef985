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
	"crypto/sha256"
	"crypto/tls"
	"net/netip"
	"strconv"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// policy is a server's configuration, compiled. It is immutable: another
// configuration makes another one.
type policy struct {
	hostname  string
	maxSize   int64
	maxRcpts  int
	maxConns  int
	maxPerIP  int
	normalize bool
	deferred  bool
	replyID   bool

	commandTimeout time.Duration
	bodyIdle       time.Duration
	bodyTimeout    time.Duration

	startTLS    *tls.Config // nil unless offered
	implicitTLS *tls.Config // nil unless the server does TLS from the start
	certLogin   bool
	// clientAuth tells apart how client certificates are asked for.
	clientAuth [sha256.Size]byte

	plaintextAuth []netip.Prefix
	trust         []trustedNet

	maxAuthTries int
	authMax      int
	authWindow   time.Duration
	authBan      time.Duration
	authDelay    time.Duration

	heloReply   *relay.Reply
	ehloReplies [4]*relay.Reply
}

type trustedNet struct {
	prefix  netip.Prefix
	account string
}

// compileReplies makes the replies that every client asks for.
func (p *policy) compileReplies() {
	p.heloReply = relay.Hello(p.hostname)
	for i := range p.ehloReplies {
		overTLS, auth := i&1 != 0, i&2 != 0
		ext := []string{
			"PIPELINING",
			"SIZE " + strconv.FormatInt(p.maxSize, 10),
			"8BITMIME",
			"SMTPUTF8",
			"ENHANCEDSTATUSCODES",
			"CHUNKING",
			"DSN",
		}
		if p.startTLS != nil && !overTLS {
			ext = append(ext, "STARTTLS")
		}
		if auth {
			ext = append(ext, "AUTH PLAIN LOGIN")
		}
		p.ehloReplies[i] = relay.Hello(p.hostname, ext...)
	}
}

func (p *policy) ehlo(overTLS, auth bool) *relay.Reply {
	i := 0
	if overTLS {
		i |= 1
	}
	if auth {
		i |= 2
	}
	return p.ehloReplies[i]
}

// handshakeTimeout bounds a TLS handshake.
func (p *policy) handshakeTimeout() time.Duration {
	return min(p.commandTimeout, 30*time.Second)
}

// trusts returns the account that clients from addr send as without login.
func (p *policy) trusts(addr netip.Addr) (account string, ok bool) {
	for _, t := range p.trust {
		if t.prefix.Contains(addr) {
			return t.account, true
		}
	}
	return "", false
}

// allowsPlaintext tells whether a client may log in without TLS.
func (p *policy) allowsPlaintext(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	for _, prefix := range p.plaintextAuth {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
