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

package extensions

import (
	"io"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// Needs looks for octets that a message may not have at a provider without an
// extension that the client named. Many clients name SMTPUTF8 and 8BITMIME
// always (Go's net/smtp does), so what the message has decides: SMTPUTF8 is
// needed by an address or a header beyond ASCII (RFC 6531 section 1.2),
// 8BITMIME by any octet beyond it (RFC 6152 section 3).
type Needs struct {
	utf8, eightBit bool // said, and not offered
	inBody         bool
	line           int // octets of the header line so far, without CR
}

// Needs returns what has to be looked for in the message; nil: nothing has.
func (s *Set) Needs(opts *smtp.MailOptions) *Needs {
	utf8 := opts.UTF8 && !s.UTF8
	eightBit := opts.Body == smtp.Body8BitMIME && !s.EightBit
	if !utf8 && !eightBit {
		return nil
	}
	return &Needs{utf8: utf8, eightBit: eightBit}
}

// Carries reports whether the message can go where these are announced, when it was
// checked for others.
func (s *Set) Carries(from string, opts *smtp.MailOptions, other *Set) bool {
	n, had := s.Needs(opts), other.Needs(opts)
	return s.CheckMail(from, opts) == nil && (n == nil || had != nil && (had.utf8 || !n.utf8) && (had.eightBit || !n.eightBit))
}

// Scan looks at the next part of the message, and says why the provider can't
// take it.
func (n *Needs) Scan(b []byte) *relay.Reply {
	for _, c := range b {
		switch {
		case c >= 0x80 && n.utf8 && !n.inBody:
			return relay.ReplyNoSMTPUTF8
		case c >= 0x80 && n.eightBit:
			return relay.ReplyNo8BITMIME
		case n.inBody || c == '\r':
		case c != '\n':
			n.line++
		case n.line == 0:
			if n.inBody = true; !n.eightBit {
				return nil
			}
		default:
			n.line = 0
		}
	}
	return nil
}

// Reader reads body and fails at what the provider can't take.
func (n *Needs) Reader(body io.Reader) io.Reader {
	if n == nil {
		return body
	}
	return &needsReader{n, body}
}

type needsReader struct {
	*Needs
	body io.Reader
}

// Read implements io.Reader.
func (r *needsReader) Read(b []byte) (int, error) {
	n, err := r.body.Read(b)
	if reply := r.Scan(b[:n]); reply != nil {
		return 0, reply
	}
	return n, err
}
