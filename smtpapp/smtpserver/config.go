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

package smtpserver

import (
	"crypto/tls"
	"strconv"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// Config is what a connection is told. It is immutable once Prepare has been
// called: another configuration is another one.
type Config struct {
	// Hostname is the name in the greeting.
	Hostname string
	// MaxSize is the largest message in octets.
	MaxSize int64
	// MaxRecipients is the number of recipients of a message.
	MaxRecipients int
	// OneFlight has a message with one recipient, that a client sends with all
	// its commands at once, go to the session as a whole.
	OneFlight bool
	// BareNewline says what becomes of a CR or LF that stands alone.
	BareNewline BareNewline
	// Strict keeps to the letter of RFC 5321 and RFC 4954.
	Strict bool

	// CommandTimeout is how long a client may be silent between commands.
	CommandTimeout time.Duration
	// LoginTimeout bounds the time until a client has logged in or, where it
	// need not, has begun its first message. Zero for no bound.
	LoginTimeout time.Duration
	// Patience is how long a client may do nothing for the transaction that it
	// has begun, if others wait for what that holds. Zero for as long as may be.
	Patience time.Duration
	// BodyIdle is how long a client may be silent within a message.
	BodyIdle time.Duration
	// BodyTimeout bounds a whole message.
	BodyTimeout time.Duration

	// StartTLS is used after STARTTLS; nil unless that is offered.
	StartTLS *tls.Config
	// ImplicitTLS is used before the greeting; nil for plain connections.
	ImplicitTLS *tls.Config

	// MaxAuthTries is the number of refused logins of a connection.
	MaxAuthTries int

	heloReply   *relay.Reply
	ehloReplies [4]*relay.Reply
}

// BareNewline says what becomes of a CR or LF that stands alone.
type BareNewline int

// What may become of them.
const (
	// BareAuto is BareNormalize for clients that log in, BareReject for those
	// whose network is trusted.
	BareAuto BareNewline = iota
	// BareReject refuses the message, or ends the connection at a command.
	BareReject
	// BareNormalize makes CRLF of them.
	BareNormalize
)

// Prepare makes what all connections share. It is called once, before the first.
func (c *Config) Prepare() {
	c.StartTLS, c.ImplicitTLS = watch(c.StartTLS), watch(c.ImplicitTLS)
	c.heloReply = relay.Hello(c.Hostname)
	for i := range c.ehloReplies {
		overTLS, auth := i&1 != 0, i&2 != 0
		ext := []string{
			"PIPELINING",
			"SIZE " + strconv.FormatInt(c.MaxSize, 10),
			"8BITMIME",
			"SMTPUTF8",
			"ENHANCEDSTATUSCODES",
			"CHUNKING",
			"DSN",
		}
		if c.StartTLS != nil && !overTLS {
			ext = append(ext, "STARTTLS")
		}
		if auth {
			ext = append(ext, "AUTH PLAIN LOGIN")
		}
		c.ehloReplies[i] = relay.Hello(c.Hostname, ext...)
	}
}

func (c *Config) ehlo(overTLS, auth bool) *relay.Reply {
	i := 0
	if overTLS {
		i |= 1
	}
	if auth {
		i |= 2
	}
	return c.ehloReplies[i]
}

// handshakeTimeout bounds a TLS handshake.
func (c *Config) handshakeTimeout() time.Duration {
	return min(c.CommandTimeout, 30*time.Second)
}
