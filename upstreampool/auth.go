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

package upstreampool

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/relay"
)

// maxCommandLine is the longest command line, CRLF included (RFC 5321 section
// 4.5.3.1.4). An AUTH command that is longer must go without its initial
// response (RFC 4954 section 4).
const maxCommandLine = 512

// login authenticates as the account.
func (c *conn) login(s *settings, id credentials, token *oauth2.Token) *dialError {
	if s.mechanism == mechNone {
		return nil
	}
	if strings.ContainsFunc(id.mailbox, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.ContainsRune(id.secret, 0) {
		// In a blob they would separate fields.
		return &dialError{class: failLogin, stage: "auth", reply: relay.ReplyUpstreamAuth, err: errors.New("control characters in the mailbox or secret")}
	}
	if token != nil {
		c.token = token.AccessToken
	}
	fail := func(err error) *dialError {
		return &dialError{class: failLost, stage: "auth", reply: relay.ReplyUpstreamDown, err: err}
	}
	if !s.force && !c.caps.offers(s.mechanism) {
		return &dialError{
			class: failLogin, stage: "auth", reply: relay.ReplyUpstreamAuth,
			err: fmt.Errorf("the provider does not announce mechanism %s; `force` uses it anyway", s.mechanism),
		}
	}
	if err := c.arm(s.dialTimeout); err != nil {
		return fail(err)
	}
	var code int
	var challenge []byte
	var err error
	switch s.mechanism {
	case mechXOAUTH2:
		code, challenge, err = c.authOne("XOAUTH2", xoauth2(id.mailbox, token.AccessToken), "\r\n")
	case mechOAuthBearer:
		// RFC 7628 section 3.2.3: a failure is acknowledged with a single ^A.
		code, challenge, err = c.authOne("OAUTHBEARER", oauthBearer(id.mailbox, s.host, s.port, token.AccessToken), "AQ==\r\n")
	case mechPlain:
		code, challenge, err = c.authOne("PLAIN", []byte("\x00"+id.mailbox+"\x00"+id.secret), "*\r\n")
	case mechLogin:
		code, err = c.authLogin(id.mailbox, id.secret)
	}
	if err != nil {
		return fail(err)
	}
	if code == 235 {
		return nil
	}
	return c.loginRefused(challenge)
}

// authOne runs a mechanism whose client speaks once. A second challenge is
// the mechanism's way to say why it failed; ack completes it.
func (c *conn) authOne(name string, blob []byte, ack string) (code int, challenge []byte, err error) {
	n := base64.StdEncoding.EncodedLen(len(blob))
	line := make([]byte, 0, len("AUTH ")+len(name)+1+n+2)
	line = append(line, "AUTH "...)
	line = append(line, name...)
	if len(line)+1+n+2 <= maxCommandLine {
		line = append(line, ' ')
		line = base64.StdEncoding.AppendEncode(line, blob)
		line = append(line, "\r\n"...)
		code, err = c.command(line)
	} else {
		line = append(line, "\r\n"...)
		if code, err = c.command(line); err != nil || code != 334 {
			return code, nil, err
		}
		line = base64.StdEncoding.AppendEncode(line[:0], blob)
		line = append(line, "\r\n"...)
		code, err = c.command(line)
	}
	clear(line)
	if err != nil || code != 334 {
		return code, nil, err
	}
	challenge = c.challenge()
	code, err = c.command([]byte(ack))
	return code, challenge, err
}

// authLogin runs LOGIN: two prompts whose words don't matter.
func (c *conn) authLogin(user, password string) (int, error) {
	code, err := c.command([]byte("AUTH LOGIN\r\n"))
	for _, answer := range [...]string{user, password} {
		if err != nil || code != 334 {
			return code, err
		}
		line := base64.StdEncoding.AppendEncode(nil, []byte(answer))
		code, err = c.command(append(line, "\r\n"...))
		clear(line)
	}
	if err == nil && code == 334 {
		code, err = c.command([]byte("*\r\n"))
	}
	return code, err
}

func xoauth2(mailbox, token string) []byte {
	return []byte("user=" + mailbox + "\x01auth=Bearer " + token + "\x01\x01")
}

func oauthBearer(mailbox, host, port, token string) []byte {
	return []byte("n,a=" + saslName(mailbox) + ",\x01host=" + host + "\x01port=" + port + "\x01auth=Bearer " + token + "\x01\x01")
}

// saslName escapes what would end the authorization identity (RFC 5801 section 4).
func saslName(s string) string {
	var b []byte
	for i := range len(s) {
		switch s[i] {
		case '=':
			b = append(b, "=3D"...)
		case ',':
			b = append(b, "=2C"...)
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// challenge decodes the text of the 334 just read, nil if it isn't base64.
func (c *conn) challenge() []byte {
	var out []byte
	c.replies.Lines(func(text []byte) {
		if out == nil && len(text) > 0 {
			if b, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
				out = b
			}
		}
	})
	return out
}

// oauthFailure is the JSON of a 334 error challenge: Google's with a status as
// of HTTP, RFC 7628 section 3.2.2's with a word.
type oauthFailure struct {
	Status string `json:"status"`
	Scope  string `json:"scope"`
}

// loginRefused classifies the negative reply just read, with the challenge that
// came before it, if any.
func (c *conn) loginRefused(challenge []byte) *dialError {
	r := c.said()
	e := &dialError{stage: "auth", err: r}
	var f oauthFailure
	if len(challenge) > 0 && json.Unmarshal(challenge, &f) == nil && f.Status != "" {
		e.err = fmt.Errorf("%w (challenge: status %q)", error(r), truncate(redact(f.Status, quoted, c.token), 40))
	}
	if len(challenge) > 0 {
		e.err = &challengeError{e.err, redact(printable(challenge), min(quoted, max(len(c.creds.secret), 4)), c.token, c.creds.secret)}
	}
	switch {
	case r.Code == 432:
		// Microsoft: "Concurrent connections limit exceeded".
		e.class, e.reply = failBusy, relay.ReplyUpstreamBusy(r)
	case r.Code == 454 || r.Code == 421 || r.Code >= 400 && r.Code < 500:
		// The credentials may be good: Gmail answers "454 4.7.0 Too many
		// login attempts".
		e.class, e.reply = failThrottled, relay.ReplyUpstreamBusy(r)
	case r.Code >= 500:
		e.class, e.reply = failLogin, relay.ReplyUpstreamAuthWords(r)
	default:
		e.class, e.reply = failLost, relay.ReplyUpstreamProtocol
		e.err = errors.New("unexpected reply to AUTH: " + r.Error())
	}
	return e
}

// printable makes foreign bytes fit to be shown.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return '?'
		}
		return r
	}, truncate(string(b), 500))
}

func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
