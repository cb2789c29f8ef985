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
	// Normalize makes CRLF of each CR or LF that stands alone.
	Normalize bool

	// CommandTimeout is how long a client may be silent between commands.
	CommandTimeout time.Duration
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

// Prepare makes the replies that every client asks for.
func (c *Config) Prepare() {
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
