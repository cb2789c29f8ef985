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

package smtpclient

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caddymail/mailgateway/relay"
)

// maxCommandLine is the longest command line, CRLF included (RFC 5321 section
// 4.5.3.1.4). An AUTH command that is longer must go without its initial
// response (RFC 4954 section 4).
const maxCommandLine = 512

// Login authenticates.
func (c *Conn) Login(l Login) *Error {
	s := c.cfg
	c.login = l
	if s.Mechanism == AuthNone {
		return nil
	}
	if strings.ContainsFunc(l.Mailbox, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.ContainsRune(l.Secret, 0) {
		// In a blob they would separate fields.
		return &Error{Class: FailLogin, Stage: "auth", Reply: relay.ReplyUpstreamAuth, Err: errors.New("control characters in the mailbox or secret")}
	}
	fail := func(err error) *Error {
		e := unwelcome("auth", err)
		e.Class = FailLost
		return e
	}
	if err := c.arm(s.DialTimeout); err != nil {
		return fail(err)
	}
	if !s.Force && !c.caps.Offers(s.Mechanism) {
		if err := c.ehloAgain(); err != nil {
			return fail(err)
		}
	}
	if !s.Force && !c.caps.Offers(s.Mechanism) {
		return &Error{
			Class: FailLogin, Stage: "auth", Reply: relay.ReplyUpstreamMechanism(s.Mechanism),
			Err: fmt.Errorf("the provider does not announce mechanism %s; `force` uses it anyway", s.Mechanism),
		}
	}
	var code int
	var challenge []byte
	var err error
	switch s.Mechanism {
	case XOAUTH2:
		code, challenge, err = c.authOne("XOAUTH2", xoauth2(l.Mailbox, l.Token), "\r\n")
	case OAuthBearer:
		// RFC 7628 section 3.2.3: a failure is acknowledged with a single ^A.
		code, challenge, err = c.authOne("OAUTHBEARER", oauthBearer(l.Mailbox, s.Host, s.Port, l.Token), "AQ==\r\n")
	case AuthPlain:
		code, challenge, err = c.authOne("PLAIN", []byte("\x00"+l.Mailbox+"\x00"+l.Secret), "*\r\n")
	case AuthLogin:
		code, err = c.authLogin(l.Mailbox, l.Secret)
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
func (c *Conn) authOne(name string, blob []byte, ack string) (code int, challenge []byte, err error) {
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
func (c *Conn) authLogin(user, password string) (int, error) {
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
func (c *Conn) challenge() []byte {
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
func (c *Conn) loginRefused(challenge []byte) *Error {
	r := c.Said()
	e := &Error{Class: FailLost, Stage: "auth", Err: r}
	var f oauthFailure
	if len(challenge) > 0 && json.Unmarshal(challenge, &f) == nil && f.Status != "" {
		e.Err = fmt.Errorf("%w (challenge: status %q)", error(r), truncate(c.redact(f.Status), 40))
	}
	if len(challenge) > 0 {
		e.Err = &ChallengeError{e.Err, c.redact(printable(challenge))}
	}
	switch {
	case r.Code == 432:
		// Microsoft: "Concurrent connections limit exceeded".
		e.Class, e.Reply = FailBusy, relay.ReplyUpstreamBusy(r)
	case r.Code >= 400 && r.Code < 500:
		// The credentials may be good: Gmail answers "454 4.7.0 Too many
		// login attempts".
		e.Class, e.Reply = FailThrottled, relay.ReplyUpstreamBusy(r)
	case r.Code >= 500:
		e.Class, e.Reply = FailLogin, relay.ReplyUpstreamAuthWords(r)
	default:
		e.Class, e.Reply = FailLost, relay.ReplyUpstreamProtocol
		e.Err = errors.New("unexpected reply to AUTH: " + r.Error())
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
