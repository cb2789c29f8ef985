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
	"net/netip"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// policy is a server's configuration, compiled. It is immutable: another
// configuration makes another one.
type policy struct {
	smtpserver.Config // what the protocol needs

	maxConns  int
	maxPerIP  int
	maxGuests int
	deferred  bool
	replyID   bool

	certLogin bool
	// clientAuth tells apart how client certificates are asked for.
	clientAuth [sha256.Size]byte

	plaintextAuth []netip.Prefix
	trust         []trustedNet
	lfOnly        []netip.Prefix

	guard front.GuardPolicy
}

type trustedNet struct {
	prefix    netip.Prefix
	account   string
	submitter bool
}

// trusts returns what clients from addr may do without login.
func (p *policy) trusts(addr netip.Addr) (t trustedNet, ok bool) {
	for _, t := range p.trust {
		if t.prefix.Contains(addr) {
			return t, true
		}
	}
	return trustedNet{}, false
}

// accountFor returns the name of the account that a message is sent as.
func (t *trustedNet) accountFor(opts *smtp.MailOptions) string {
	if t.submitter && opts.Auth != nil && *opts.Auth != "" {
		return *opts.Auth
	}
	return t.account
}

// allowsPlaintext reports whether a client may log in without TLS.
func (p *policy) allowsPlaintext(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	return front.Contains(p.plaintextAuth, addr)
}

// endsWithLF reports whether a client may end its lines with LF alone.
func (p *policy) endsWithLF(addr netip.Addr) bool { return front.Contains(p.lfOnly, addr) }
