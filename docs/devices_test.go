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

package docs

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
)

// mistake is what a device does wrong, at one of the test's servers. It returns
// what the device sees: the last reply, or what its TLS library says.
type mistake struct {
	server string  // starttls unless named
	from   network // its address is of; anywhere unless named
	do     func(d *device) string
	// quiet is a cause that is worth information only.
	quiet bool
	// before is what has to come before it, from the same address.
	before func(connect func() *device)
}

// device is a client that says what it is told to.
type device struct {
	t    *testing.T
	base net.Conn // under TLS
	nc   net.Conn
	text *textproto.Conn
	last string // the last reply

	lines []string  // all of it
	heard *[]string // refusals, where it is kept
}

func (d *device) reply() string {
	d.t.Helper()
	d.last, d.lines = "", nil
	for {
		line, err := d.text.ReadLine()
		if err != nil {
			return d.last
		}
		d.last, d.lines = line, append(d.lines, line)
		if len(line) < 4 || line[3] != '-' {
			break
		}
	}
	if d.heard != nil && d.last[0] > '3' {
		*d.heard = append(*d.heard, d.last)
	}
	return d.last
}

// say says each line, and returns the reply to the last.
func (d *device) say(lines ...string) string {
	for _, line := range lines {
		_, _ = io.WriteString(d.nc, line+"\r\n")
		d.reply()
	}
	return d.last
}

// hello is the greeting and EHLO.
func (d *device) hello() *device {
	d.reply()
	d.say("EHLO device.example")
	return d
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func (d *device) login(name, password string) string {
	return d.say("AUTH PLAIN " + b64("\x00"+name+"\x00"+password))
}

const (
	deviceAccount  = "scanner@example.com"
	devicePassword = "made-up-password"
)

// begin is all until the message itself.
func (d *device) begin(more ...string) *device {
	d.hello().startTLS()
	d.login(deviceAccount, devicePassword)
	d.say(append([]string{"MAIL FROM:<" + deviceAccount + ">", "RCPT TO:<you@example.net>"}, more...)...)
	return d
}

// startTLS makes the connection one that a login is offered on.
func (d *device) startTLS() *device {
	d.say("STARTTLS")
	tc := tls.Client(d.nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as devices do
	if err := tc.Handshake(); err != nil {
		d.t.Fatal(err)
	}
	d.nc, d.text = tc, textproto.NewConn(tc)
	d.say("EHLO device.example")
	return d
}

// handshake is TLS as a client's settings have it.
func handshake(cfg *tls.Config, starttls bool) func(*device) string {
	return func(d *device) string {
		if starttls {
			d.hello().say("STARTTLS")
		}
		if err := tls.Client(d.nc, cfg).Handshake(); err != nil {
			return err.Error()
		}
		return ""
	}
}

// muteAfterHello lets a ClientHello pass and then what is put in its place.
type muteAfterHello struct {
	net.Conn
	said    bool
	instead []byte
}

func (c *muteAfterHello) Write(p []byte) (int, error) {
	if !c.said {
		c.said = true
		return c.Conn.Write(p)
	}
	if c.instead != nil {
		_, _ = c.Conn.Write(c.instead)
		c.instead = nil
	}
	return len(p), nil
}

var (
	strictClient = &tls.Config{ServerName: "mail.example.com"}
	oldVersion   = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // old devices
	oldSuites    = &tls.Config{                                                                                      //nolint:gosec // old devices
		InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	}
	// opensslAlert is how OpenSSL says `unknown ca` where TLS 1.3 wants it encrypted.
	opensslAlert = []byte{21, 3, 3, 0, 2, 2, 48}
)

// mistakes are those that each cause stands for.
var mistakes = map[string][]mistake{
	"tls_certificate_refused": {
		{do: handshake(strictClient, true)},
		{server: "implicit", do: handshake(strictClient, false)},
		// OpenSSL: the gateway's TLS library calls it "bad record MAC".
		{server: "implicit", do: func(d *device) string {
			d.nc = &muteAfterHello{Conn: d.nc, instead: opensslAlert}
			return handshake(strictClient, false)(d)
		}},
		// Says nothing at all, and goes.
		{server: "implicit", do: func(d *device) string {
			d.nc = &muteAfterHello{Conn: d.nc}
			return handshake(strictClient, false)(d)
		}},
	},
	"tls_version":       {{do: handshake(oldVersion, true)}, {server: "implicit", do: handshake(oldVersion, false)}},
	"tls_cipher":        {{do: handshake(oldSuites, true)}, {server: "implicit", do: handshake(oldSuites, false)}},
	"tls_on_plain_port": {{do: handshake(strictClient, false)}},
	"plaintext_on_tls_port": {
		{server: "implicit", do: func(d *device) string { return d.say("EHLO device.example") }},
		{server: "hasty_implicit", do: func(d *device) string { return d.reply() }}, // waits for the greeting
	},
	"tls_required": {
		{do: func(d *device) string { return d.hello().say("AUTH LOGIN") }},
		{do: func(d *device) string { return d.hello().say("MAIL FROM:<" + deviceAccount + ">") }},
	},
	"auth_required":   {{do: func(d *device) string { return d.hello().startTLS().say("MAIL FROM:<" + deviceAccount + ">") }}},
	"unknown_account": {{do: func(d *device) string { return d.hello().startTLS().login("scanner", devicePassword) }}},
	"wrong_password":  {{do: func(d *device) string { return d.hello().startTLS().login(deviceAccount, "an old one") }}},
	"account_paused":  {{do: func(d *device) string { return d.hello().startTLS().login("paused@example.com", devicePassword) }}},
	"auth_mechanism":  {{do: func(d *device) string { return d.hello().startTLS().say("AUTH CRAM-MD5") }}},
	"auth_malformed": {
		{do: func(d *device) string { return d.hello().startTLS().say("AUTH PLAIN =not=base64=") }},
		{do: func(d *device) string { return d.hello().startTLS().say("AUTH LOGIN", "*") }},
	},
	"auth_identity": {{do: func(d *device) string {
		return d.hello().startTLS().say("AUTH PLAIN " + b64("boss@example.com\x00"+deviceAccount+"\x00"+devicePassword))
	}}},
	"sender_not_allowed": {{do: func(d *device) string {
		d.hello().startTLS().login(deviceAccount, devicePassword)
		return d.say("MAIL FROM:<printer@localhost>")
	}}},
	"banned": {{
		before: func(connect func() *device) {
			for i := range 5 {
				d := connect()
				d.hello().startTLS().login(deviceAccount, fmt.Sprint("guess ", i))
				d.leave()
			}
		},
		do: func(d *device) string { return d.reply() },
	}},
	"syntax": {
		{do: func(d *device) string {
			d.hello().startTLS().login(deviceAccount, devicePassword)
			return d.say("MAIL FROM:<a@@example.com>")
		}},
		{do: func(d *device) string { return d.begin().say("RCPT TO:<nobody>") }},
		{do: func(d *device) string { return d.begin().say("RCPT you@example.net") }},
	},
	"unknown_command": {{do: func(d *device) string { return d.hello().say("XSCAN A4") }}},
	"parameter": {{do: func(d *device) string {
		d.hello().startTLS().login(deviceAccount, devicePassword)
		return d.say("MAIL FROM:<" + deviceAccount + "> XPAGES=2")
	}}},
	"bad_sequence": {{do: func(d *device) string {
		d.hello().startTLS().login(deviceAccount, devicePassword)
		return d.say("RCPT TO:<you@example.net>")
	}}},
	"too_long": {{do: func(d *device) string { return d.hello().say("NOOP " + strings.Repeat("x", 5000)) }}},
	"too_big": {
		{do: func(d *device) string {
			d.hello().startTLS().login(deviceAccount, devicePassword)
			return d.say("MAIL FROM:<" + deviceAccount + "> SIZE=900000")
		}},
		{do: func(d *device) string {
			d.begin("DATA")
			go func() { _, _ = io.WriteString(d.nc, strings.Repeat("scan\r\n", 20_000)+".\r\n") }()
			return d.reply()
		}},
	},
	"bare_newline": {{server: "reject", do: func(d *device) string { return d.begin("DATA").say("From: x\nSubject: x\r\n\r\nx\r\n.") }}},
	"bare_lf": {{server: "reject", do: func(d *device) string {
		d.reply()
		_, _ = io.WriteString(d.nc, "EHLO device.example\n")
		return d.reply()
	}}},
	"content":                 {{do: func(d *device) string { return d.begin("DATA").say("Subject: x\r\n\r\n\x00\r\n.") }}},
	"too_many_recipients":     {{quiet: true, do: func(d *device) string { return d.begin("RCPT TO:<b@example.net>").say("RCPT TO:<c@example.net>") }}},
	"http":                    {{do: func(d *device) string { d.reply(); return d.say("POST / HTTP/1.1") }}},
	"trusted_account_unknown": {{from: ofGone, do: func(d *device) string { return d.hello().say("MAIL FROM:<a@example.com>") }}},
	"login_timeout":           {{server: "hasty", do: func(d *device) string { d.hello(); return d.reply() }}},
	"too_many_connections": {{
		server: "narrow",
		before: func(connect func() *device) { connect().reply() },
		do:     func(d *device) string { return d.reply() },
	}},
	"too_many_errors": {{do: func(d *device) string {
		d.reply()
		for d.last != "" && !strings.HasPrefix(d.last, "421") {
			d.say("XSCAN")
		}
		return d.last
	}}},
	"too_many_commands": {{do: func(d *device) string {
		d.hello()
		for !strings.HasPrefix(d.last, "421") && d.last != "" {
			d.say("NOOP")
		}
		return d.last
	}}},
	"timeout": {{server: "silent", quiet: true, do: func(d *device) string {
		d.hello().startTLS().login(deviceAccount, devicePassword)
		return d.reply()
	}}},
	"message_timeout": {{server: "silent", do: func(d *device) string {
		d.begin("DATA")
		_, _ = io.WriteString(d.nc, "Subject: x\n\nx\n.\n")
		return d.reply()
	}}},
	"tls_client_certificate": {{server: "mutual", do: func(d *device) string {
		tc := tls.Client(d.nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as devices do
		_, err := tc.Read(make([]byte, 1))
		return fmt.Sprint(err)
	}}},
	"tls_failed": {{server: "implicit", do: func(d *device) string {
		_, _ = d.nc.Write(make([]byte, 64))
		return ""
	}}},
	"client_gone_before_reply": {{do: func(d *device) string {
		d.begin("DATA")
		_, _ = io.WriteString(d.nc, "Subject: slow\r\n\r\nx\r\n.\r\n")
		return ""
	}}},
	"client_gone_in_message": {{do: func(d *device) string {
		d.begin("DATA")
		_, _ = io.WriteString(d.nc, "Subject: cut\r\n\r\nx")
		return ""
	}}},
}

// elsewhereTested are the causes that need more than a device and its mistake,
// with the tests that have them.
var elsewhereTested = map[string]string{
	"early_talker":          "smtpserver.TestEarlyTalker",
	"login_gone":            "smtpapp.TestRefusalOfSession",
	"login_overloaded":      "smtpapp.TestExplanations", // its words alone
	"proxy_header":          "smtpapp.TestProxyHeaderForms",
	"stalled_message":       "smtpserver.TestStalled",
	"too_many_before_login": "smtpapp.TestGuestsAreCrowdedOut",
}

var (
	causeInCode = regexp.MustCompile("`(\\w+)`")
	replyCode   = regexp.MustCompile(`^\d{3}`)
)

// TestDevicesMistakes makes the mistakes that devices.md has, and those behind
// every other cause that the gateway knows: one line in the log for many of
// them, the same in the API, and what the page says.
func TestDevicesMistakes(t *testing.T) {
	type row struct {
		name, sees, says string
	}
	rows := make(map[string]row)
	_, table, _ := strings.Cut(read(t, "devices.md"), "## In the log")
	for l := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(l), "|"), "|")
		if len(cells) != 3 || strings.HasPrefix(cells[0], "---") || strings.Contains(cells[0], "mistake of the device") {
			continue
		}
		m := causeInCode.FindStringSubmatch(cells[2])
		if m == nil {
			t.Errorf("devices.md names no cause: %s", l)
			continue
		}
		rows[m[1]] = row{strings.TrimSpace(cells[0]), cells[1], strings.TrimSpace(cells[2])}
	}
	o := newOffice(t)
	for cause, list := range mistakes {
		heard := make(map[string]bool)
		for i, m := range list {
			t.Run(fmt.Sprintf("%s/%d", cause, i), func(t *testing.T) {
				saw, said := o.make(t, cause, m)
				r, ok := rows[cause]
				if !ok {
					t.Fatalf("devices.md has no row for it: the device sees %q, the line is %+v", saw, said)
				}
				if want := fmt.Sprintf("`%s`: %s", cause, said.Remedy); r.says != want {
					t.Errorf("devices.md says\n%s\nthe log says\n%s", r.says, want)
				}
				if code := refusalCode.FindString(saw); replyCode.MatchString(saw) {
					if heard[code] = true; !codes(r.sees)[code] {
						t.Errorf("the device sees %q, devices.md says %q", saw, r.sees)
					}
				}
				if said.Reply != "" && !strings.HasPrefix(saw, said.Reply[:3]) {
					t.Errorf("the device saw %q, the log says %q", saw, said.Reply)
				}
			})
		}
		if said := codes(rows[cause].sees); !maps.Equal(heard, said) {
			t.Errorf("%s: heard %v, devices.md says %v", cause, keys(heard), keys(said))
		}
	}
	for cause := range rows {
		if mistakes[cause] == nil {
			t.Errorf("devices.md has a row for %s, which no mistake here stands for", cause)
		}
	}
	known := testFunctions(t)
	for cause := range causesInSource(t) {
		if mistakes[cause] == nil && !known[elsewhereTested[cause]] {
			t.Errorf("%s: nothing tests its line", cause)
		}
	}
}

// causesInSource are the causes that the gateway knows.
func causesInSource(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for _, file := range []string{"../smtpapp/refusals.go", "../smtpapp/smtpserver/session.go"} {
		for _, m := range regexp.MustCompile(`(?m)^\t[cC]ause\w+ +(?:smtpserver\.)?Cause += "(\w+)"`).FindAllStringSubmatch(read(t, file), -1) {
			all[m[1]] = true
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d causes found", len(all))
	}
	return all
}
