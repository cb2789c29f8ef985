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
	"bytes"
	"crypto/subtle"
	"encoding/base64"

	"github.com/caddymail/mailgateway/sandbox/record"
)

// auth is RFC 4954: AUTH mechanism [initial-response].
func (c *conn) auth(arg []byte) error {
	bad := ""
	switch {
	case !c.greeted:
		bad = "503 5.5.1 EHLO first"
	case !c.secure && !c.st.app.PlaintextAuth:
		bad = "530 5.7.0 Must issue a STARTTLS command first"
	case c.box != nil:
		bad = "503 5.5.1 Already authenticated"
	case c.tx.open:
		bad = "503 5.5.1 AUTH not permitted during a mail transaction"
	}
	if bad != "" {
		c.reply(bad)
		return nil
	}
	mech, ir, hasIR := bytes.Cut(arg, []byte(" "))
	switch {
	case bytes.EqualFold(mech, []byte("XOAUTH2")):
		return c.authBearer(ir, hasIR, false)
	case bytes.EqualFold(mech, []byte("OAUTHBEARER")) && c.st.profile.name != "microsoft":
		return c.authBearer(ir, hasIR, true)
	case bytes.EqualFold(mech, []byte("PLAIN")) && c.st.profile.name != "microsoft":
		return c.authPlain(ir, hasIR)
	case bytes.EqualFold(mech, []byte("LOGIN")):
		return c.authLogin(ir, hasIR)
	}
	c.reply("504 5.7.4 Unrecognized authentication type")
	return nil
}

// response reads one base64 line; ok is false if an error reply was given.
func (c *conn) response() (p []byte, ok bool, err error) {
	line, err := c.readLine()
	switch err {
	case nil:
	case errTooLong:
		c.s.rec.Auth(nil, "too_long")
		c.reply(c.st.profile.tooLong)
		return nil, false, nil
	case errNotCRLF:
		return c.malformed()
	default:
		return nil, false, err
	}
	if len(line) == 1 && line[0] == '*' {
		c.s.rec.Auth(nil, "cancelled")
		c.reply("501 5.7.0 Authentication cancelled")
		return nil, false, nil
	}
	return c.decode(line)
}

func (c *conn) decode(line []byte) (p []byte, ok bool, err error) {
	p = make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	n, err := base64.StdEncoding.Strict().Decode(p, line)
	if err != nil {
		return c.malformed()
	}
	return p[:n], true, nil
}

func (c *conn) malformed() ([]byte, bool, error) {
	c.s.rec.Auth(nil, "malformed")
	c.reply("501 5.5.2 Cannot decode response")
	return nil, false, nil
}

// first reads the first response, which may have come with the command.
func (c *conn) first(ir []byte, hasIR bool, prompt string) ([]byte, bool, error) {
	if !hasIR {
		c.reply(prompt)
		return c.response()
	}
	if len(ir) == 1 && ir[0] == '=' { // RFC 4954 section 4: an empty one
		return nil, true, nil
	}
	return c.decode(ir)
}

// authBearer is XOAUTH2 (Google's and Microsoft's page) or OAUTHBEARER
// (RFC 7628).
func (c *conn) authBearer(ir []byte, hasIR, rfc7628 bool) error {
	p, ok, err := c.first(ir, hasIR, "334 ")
	if !ok {
		return err
	}
	var user, token string
	if rfc7628 {
		user, token, ok = parseOAuthBearer(p)
	} else {
		user, token, ok = parseXOAuth2(p)
	}
	if !ok {
		_, _, err = c.malformed()
		return err
	}
	box := c.s.rec.Mailbox(user)
	if done, err := c.authFault(box); done {
		return err
	}
	result := c.s.oauth.Check(token, user)
	if result == "ok" {
		return c.login(box)
	}
	c.s.rec.Auth(box, result)
	if !rfc7628 && !c.st.profile.challenge {
		c.reply(c.st.profile.authFailed)
		return nil
	}
	c.reply(c.st.profile.challengeReply(rfc7628, c.s.HTTPURL()))
	line, err := c.readLine()
	if err != nil {
		return err
	}
	want := ""
	if rfc7628 {
		want = "AQ==" // RFC 7628 section 3.2.3: a single ^A
	}
	if string(line) != want && string(line) != "*" {
		c.s.rec.Auth(nil, "malformed")
		c.reply("501 5.5.2 Expected '" + want + "' to end the failed exchange")
		return nil
	}
	c.reply(c.st.profile.authFailed)
	return nil
}

// parseXOAuth2 reads "user=" user ^A "auth=Bearer " token ^A ^A.
func parseXOAuth2(p []byte) (user, token string, ok bool) {
	p, ok = bytes.CutPrefix(p, []byte("user="))
	if !ok {
		return "", "", false
	}
	u, p, ok := bytes.Cut(p, []byte{1})
	if !ok || len(u) == 0 {
		return "", "", false
	}
	p, ok = bytes.CutPrefix(p, []byte("auth=Bearer "))
	if !ok {
		return "", "", false
	}
	p, ok = bytes.CutSuffix(p, []byte{1, 1})
	if !ok || len(p) == 0 || bytes.IndexByte(p, 1) >= 0 {
		return "", "", false
	}
	return string(u), string(p), true
}

// parseOAuthBearer reads RFC 7628 section 3.1: a GS2 header with the
// authorization identity, then key=value pairs, each ended by ^A.
func parseOAuthBearer(p []byte) (user, token string, ok bool) {
	p, ok = bytes.CutPrefix(p, []byte("n,a="))
	if !ok {
		return "", "", false
	}
	u, p, ok := bytes.Cut(p, []byte(",\x01"))
	if !ok || len(u) == 0 || bytes.IndexByte(u, 1) >= 0 {
		return "", "", false
	}
	p, ok = bytes.CutSuffix(p, []byte{1, 1})
	if !ok {
		return "", "", false
	}
	for kv := range bytes.SplitSeq(p, []byte{1}) {
		k, v, found := bytes.Cut(kv, []byte("="))
		if !found || len(k) == 0 {
			return "", "", false
		}
		if string(k) == "auth" {
			b, isBearer := bytes.CutPrefix(v, []byte("Bearer "))
			if !isBearer || len(b) == 0 || token != "" {
				return "", "", false
			}
			token = string(b)
		}
	}
	// RFC 5801 section 4: "," and "=" of the identity come as =2C and =3D.
	u = bytes.ReplaceAll(bytes.ReplaceAll(u, []byte("=2C"), []byte(",")), []byte("=3D"), []byte("="))
	return string(u), token, token != ""
}

func (c *conn) authPlain(ir []byte, hasIR bool) error {
	p, ok, err := c.first(ir, hasIR, "334 ")
	if !ok {
		return err
	}
	parts := bytes.Split(p, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 {
		_, _, err = c.malformed()
		return err
	}
	return c.password(string(parts[1]), parts[2])
}

func (c *conn) authLogin(ir []byte, hasIR bool) error {
	user, ok, err := c.first(ir, hasIR, "334 VXNlcm5hbWU6")
	if !ok {
		return err
	}
	if len(user) == 0 {
		_, _, err = c.malformed()
		return err
	}
	name := string(user)
	c.reply("334 UGFzc3dvcmQ6")
	pass, ok, err := c.response()
	if !ok {
		return err
	}
	return c.password(name, pass)
}

func (c *conn) password(user string, pass []byte) error {
	box := c.s.rec.Mailbox(user)
	if done, err := c.authFault(box); done {
		return err
	}
	want := c.st.app.Password
	if want == "" || subtle.ConstantTimeCompare([]byte(want), pass) != 1 {
		c.s.rec.Auth(box, "bad_password")
		c.reply(c.st.profile.authFailed)
		return nil
	}
	return c.login(box)
}

// authFault lets happen what is to happen once the mailbox is known.
func (c *conn) authFault(box *record.Box) (done bool, err error) {
	ev := c.event(0)
	ev.Mailbox = box.Name
	f, ok := c.s.faults.Take("auth", ev)
	if !ok {
		return false, nil
	}
	if f.Action == "reply" && f.Reply[:3] == "334" {
		// A challenge: the client completes it and hears the refusal.
		c.s.rec.Auth(box, "fault")
		c.reply(f.Reply)
		if _, err := c.readLine(); err != nil {
			return true, err
		}
		c.reply(c.st.profile.authFailed)
		return true, nil
	}
	code, err := c.act(f, "auth")
	if err == nil && code == 235 {
		box.Join()
		c.enter(box)
		return true, nil
	}
	if code != 0 || err != nil {
		c.s.rec.Auth(box, "fault")
		return true, err
	}
	return false, nil
}

// login applies the mailbox's limits to a connection that may log in.
func (c *conn) login(box *record.Box) error {
	if limited := c.limited(box); limited != "" {
		c.s.rec.Auth(box, "limited")
		c.reply(limited)
		return nil
	}
	c.enter(box)
	c.reply(c.st.profile.authOK)
	return c.ready()
}

const replyLogins = "454-4.7.0 Too many login attempts, please try again later. For more\r\n" +
	"454 4.7.0 information, go to https://support.google.com/mail/answer/7126229 - gsmtp"

// limited says what stands against a login; if nothing, the connection counts
// as the mailbox's from here on.
func (c *conn) limited(box *record.Box) string {
	conns := c.st.maxConns
	if c.st.limitAtData {
		conns = 0
	}
	switch box.Login(c.st.app.LoginsPerMinute, conns) {
	case record.TooManyLogins:
		return replyLogins
	case record.TooManyConns:
		return replyConns
	}
	return ""
}

// enter makes the connection, which has been counted, the mailbox's.
func (c *conn) enter(box *record.Box) {
	c.s.rec.Auth(box, "ok")
	c.box = box
}
