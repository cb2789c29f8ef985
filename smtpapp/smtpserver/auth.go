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
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/caddymail/mailgateway/relay"
)

// mechanisms are what clients can log in with; both carry the password.
var mechanisms = []string{sasl.Plain, sasl.Login}

// errMalformed says that a client's response is not what the mechanism wants.
var errMalformed = errors.New("malformed authentication response")

// errIdentity says that a client would act for another.
var errIdentity = errors.New("authorization identity of another")

// authenticator checks a name and a password.
type authenticator func(name, password string) error

// newSASL begins an exchange.
func newSASL(mech string, check authenticator, strict bool) sasl.Server {
	if mech == sasl.Login {
		return &loginServer{check: check, strict: strict}
	}
	return &plainServer{check: check, strict: strict}
}

// plainServer is the server side of PLAIN (RFC 4616).
type plainServer struct {
	check  authenticator
	strict bool
}

func (s *plainServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return []byte{}, false, nil
	}
	identity, rest, ok := bytes.Cut(response, []byte{0})
	if !ok {
		return nil, true, errMalformed
	}
	name, password, ok := bytes.Cut(rest, []byte{0})
	if !s.strict {
		identity, name, password = trimName(identity), trimName(name), trimCredential(password)
	}
	if !ok || len(name) == 0 || bytes.IndexByte(password, 0) >= 0 {
		return nil, true, errMalformed
	}
	// Nobody acts for another: the account is what one logs in as.
	if len(identity) > 0 && !bytes.EqualFold(identity, name) {
		return nil, true, errIdentity
	}
	return nil, true, s.check(string(name), string(password))
}

// loginServer is the server side of LOGIN (draft-murchison-sasl-login). The
// prompts are the ones that devices compare octet by octet.
type loginServer struct {
	check  authenticator
	strict bool
	asked  bool
	named  bool
	name   string
}

func (s *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if !s.strict && response != nil {
		response = trimCredential(response)
	}
	switch {
	case !s.asked && response == nil:
		s.asked = true
		return []byte("Username:"), false, nil
	case !s.named:
		if len(response) == 0 {
			return nil, true, errMalformed
		}
		if !s.strict {
			response = trimName(response)
		}
		s.asked, s.named, s.name = true, true, string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, s.check(s.name, string(response))
}

// cmdAuth begins an AUTH exchange (RFC 4954 section 4).
func (c *Conn) cmdAuth(args string) {
	switch {
	case !c.greeted:
		c.refuse(CauseBadSequence, relay.ReplyBadSequence, "AUTH")
		return
	case c.authed:
		c.refuse(CauseBadSequence, relay.ReplyAuthDone, "AUTH")
		return
	case c.tx.open:
		c.refuse(CauseBadSequence, relay.ReplyAuthInMail, "AUTH")
		return
	}
	if !c.refresh() {
		return
	}
	mech, initial, hasInitial := strings.Cut(args, " ")
	if mech == "" {
		c.refuse(CauseSyntax, relay.ReplySyntax, "AUTH")
		return
	}
	mech = strings.ToUpper(mech)
	if !slices.Contains(mechanisms, mech) {
		c.refuse(CauseAuthMechanism, relay.ReplyAuthMechanism, knownMechanism(mech))
		return
	}
	if !c.s.MayLogin() {
		c.refuse(CauseTLSRequired, relay.ReplyTLSRequired, "AUTH "+mech)
		return
	}
	server := newSASL(mech, c.s.Login, c.cfg.Strict)
	var response []byte
	if hasInitial {
		var ok bool
		if response, ok = decodeAuth([]byte(initial), true, c.cfg.Strict); !ok {
			c.authRefused(CauseAuthMalformed, relay.ReplyAuthMalformed)
			return
		}
		if len(response) == 0 && !c.cfg.Strict {
			response = nil // both mechanisms begin with something; ask for it
		}
	}
	c.exchange(server, response)
}

// exchange goes on with an AUTH exchange, from the initial response to its end.
func (c *Conn) exchange(server sasl.Server, response []byte) {
	for {
		challenge, done, err := server.Next(response)
		switch {
		case errors.Is(err, errMalformed):
			c.authRefused(CauseAuthMalformed, relay.ReplyAuthMalformed)
			return
		case errors.Is(err, errIdentity):
			c.authRefused(CauseAuthIdentity, relay.ReplyAuthFailed)
			return
		case err != nil:
			c.loginRefused(err)
			return
		case done:
			c.authed = true
			c.authTry = 0
			c.ok(relay.ReplyAuthOK)
			return
		}
		c.w.reply(relay.Challenge(base64.StdEncoding.EncodeToString(challenge)))
		line, err := c.readLine(maxAuthLine, true)
		switch {
		case errors.Is(err, errLineTooLong):
			c.authRefused(CauseAuthMalformed, relay.ReplyAuthTooLong)
			return
		case errors.Is(err, errBareLF):
			c.refuseAndClose(CauseBareLF, relay.ReplyBareLF, "AUTH")
			return
		case err != nil:
			c.failed(err)
			return
		}
		if len(line) == 1 && line[0] == '*' {
			c.authRefused(CauseAuthMalformed, relay.ReplyAuthCancelled)
			return
		}
		var ok bool
		if response, ok = decodeAuth(line, false, c.cfg.Strict); !ok {
			c.authRefused(CauseAuthMalformed, relay.ReplyAuthMalformed)
			return
		}
	}
}

// knownMechanism returns the name of a mechanism as clients may have it set, and
// nothing for any other word: what stands there may be a password.
func knownMechanism(mech string) string {
	switch mech {
	case sasl.Anonymous, sasl.External, sasl.OAuthBearer, "XOAUTH2", "CRAM-MD5", "DIGEST-MD5", "NTLM", "MSN", "GSSAPI", "GSS-SPNEGO",
		"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS":
		return mech
	}
	return ""
}

// authRefused answers an exchange that came to no login.
func (c *Conn) authRefused(cause Cause, r *relay.Reply) {
	c.w.reply(r)
	c.s.Refused(Refusal{Cause: cause, Reply: r, Detail: "AUTH"})
	c.countTry()
}

// loginRefused answers a login that the session refuses, and has told of.
func (c *Conn) loginRefused(err error) {
	if c.answer(err); c.end == "" {
		c.countTry()
	}
}

// countTry bounds the logins of a connection.
func (c *Conn) countTry() {
	c.authTry++
	if c.authTry >= c.cfg.MaxAuthTries {
		c.close(relay.ReplyTooManyErrors, EndAuth)
		c.s.Refused(Refusal{Cause: CauseTooManyErrors, Reply: relay.ReplyTooManyErrors, Detail: "AUTH"})
	}
}

// decodeAuth decodes a response. RFC 4954 section 4 wants 501 for anything that
// is not base64, and so do we where strict; otherwise blanks around and in it do
// no harm, nor does padding that is missing or too much. An initial response of
// "=" is an empty one.
func decodeAuth(b []byte, initial, strict bool) ([]byte, bool) {
	if !strict {
		b = bytes.Trim(b, " \t\r\n")
	}
	if initial {
		if len(b) == 0 {
			return nil, false
		}
		if len(b) == 1 && b[0] == '=' {
			return []byte{}, true
		}
	}
	// The decoder skips line ends, of which a bare CR may be one.
	if bytes.ContainsAny(b, "\r\n") {
		return nil, false
	}
	encoding := base64.StdEncoding.Strict()
	if !strict {
		// Bits that are left over in the last octet are ignored as well.
		b = bytes.TrimRight(bytes.ReplaceAll(b, []byte(" "), nil), "=")
		encoding = base64.RawStdEncoding
	}
	out := make([]byte, encoding.DecodedLen(len(b)))
	n, err := encoding.Decode(out, b)
	if err != nil {
		return nil, false
	}
	return out[:n], true
}

// trimCredential takes off what ends a name or a password in the memory or the
// form of some devices, and is part of neither.
func trimCredential(b []byte) []byte { return bytes.TrimRight(b, "\x00\r\n") }

// trimName takes off what no account's name begins or ends with.
func trimName(b []byte) []byte { return bytes.Trim(trimCredential(b), " \t") }

// Interface guards
var (
	_ sasl.Server = (*plainServer)(nil)
	_ sasl.Server = (*loginServer)(nil)
)
