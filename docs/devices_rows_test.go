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
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// rows are the rows of the tables of devices.md but the last, by their first cell.
var rows = map[string]func(v *visit){
	// What a device can do.
	"TLS from the start (\"SSL\") and a login": func(v *visit) {
		d := v.device("implicit")
		d.handshake(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as devices do
		d.hello()
		v.accepted(d.login(deviceAccount, devicePassword))
		v.mail(d, fromScanner, toYou)
	},
	"STARTTLS and a login": func(v *visit) { v.mail(v.session("starttls"), fromScanner, toYou) },
	"TLS 1.0 or 1.1 only, and a login": func(v *visit) {
		for name, cfg := range map[string]*tls.Config{
			"TLS 1.1": {InsecureSkipVerify: true, ServerName: "legacy.localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			"RSA only": {
				InsecureSkipVerify: true, ServerName: "legacy.localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
				CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
			},
		} {
			v.awaitLegacy(cfg)
			d := v.device("legacy").hello()
			d.say("STARTTLS")
			d.handshake(cfg)
			d.say("EHLO device.example")
			if reply := d.login(deviceAccount, devicePassword); !strings.HasPrefix(reply, "235") {
				v.t.Errorf("%s: %q", name, reply)
			}
			v.mail(d, fromScanner, toYou)
		}
	},
	"a login, but no TLS": func(v *visit) {
		d := v.deviceAt("devices", address(inTheClear)).hello()
		v.accepted(d.login(deviceAccount, devicePassword))
		v.mail(d, fromScanner, toYou)
	},
	"neither": func(v *visit) { v.mail(v.deviceAt("devices", address(trusted)).hello(), fromScanner, toYou) },

	// What devices do wrong.
	"says HELO and then AUTH": func(v *visit) {
		d := v.deviceAt("devices", address(inTheClear))
		d.reply()
		v.accepted(d.say("HELO device"))
		v.accepted(d.login(deviceAccount, devicePassword))
		v.mail(d, fromScanner, toYou)
	},
	"compares the prompts of AUTH LOGIN octet by octet (Xerox)": func(v *visit) {
		d := v.device("starttls").hello().startTLS()
		for _, step := range [][2]string{{"AUTH LOGIN", "VXNlcm5hbWU6"}, {b64(deviceAccount), "UGFzc3dvcmQ6"}} {
			if got := d.say(step[0]); got != "334 "+step[1] || !strings.Contains(read(v.t, "devices.md"), "`"+step[1]+"`") {
				v.t.Errorf("%s: %q", step[0], got)
			}
		}
		v.accepted(d.say(b64(devicePassword)))
		v.mail(d, fromScanner, toYou)
	},
	"writes `MAIL FROM: <a@example.com>` with a space": func(v *visit) {
		v.mail(v.session("starttls"), "MAIL FROM: <"+deviceAccount+">", "RCPT TO: <you@example.net>")
	},
	"ends the lines of a message with LF": func(v *visit) {
		before := v.provider.MessageCount()
		d := v.session("starttls")
		d.say(fromScanner, toYou, "DATA")
		v.accepted(d.say("Subject: page\n\nx\ny\r\n."))
		d.leave()
		v.body(v.latest(before), "Subject: page\r\n\r\nx\r\ny\r\n")
		d = v.deviceAt("devices", address(trusted)).hello()
		d.say(fromScanner, toYou, "DATA")
		d.say("Subject: page\n\nx\n\r\n.")
		v.closed(d)
	},
	"ends everything with LF, the final dot too": func(v *visit) {
		before := v.provider.MessageCount()
		const whole = "EHLO device\nMAIL FROM:<" + deviceAccount + ">\nRCPT TO:<you@example.net>\nDATA\n"
		d := v.deviceAt("devices", address(lfOnly))
		d.reply()
		v.accepted(d.write("EHLO device\n"))
		v.accepted(d.write("AUTH PLAIN " + b64("\x00"+deviceAccount+"\x00"+devicePassword) + "\n"))
		for line := range strings.Lines(strings.TrimPrefix(whole, "EHLO device\n")) {
			d.write(line)
		}
		v.accepted(d.write("Subject: page\n\nx\n.\n"))
		d.leave()
		v.body(v.latest(before), "Subject: page\r\n\r\nx\r\n")
		d = v.session("silent")
		d.say(fromScanner, toYou, "DATA")
		d.write("Subject: page\n\nx\n.\n")
		v.closed(d)
	},
	"ends lines with CR CR LF (text made CRLF twice)": func(v *visit) {
		before := v.provider.MessageCount()
		d := v.session("starttls")
		d.say(fromScanner, toYou, "DATA")
		v.accepted(d.say("Subject: page\r\r\nFrom: x\r\r\n\r\r\nx\r\r\n."))
		d.leave()
		v.body(v.latest(before), "Subject: page\r\nFrom: x\r\n\r\nx\r\n")
	},
	"writes paths without brackets, or with blanks in and around them": func(v *visit) {
		for _, path := range []string{"%s", " %s", "< %s >", " <%s >", "<%s> "} {
			m := v.mail(v.session("starttls"), fmt.Sprintf("MAIL FROM:"+path, deviceAccount), fmt.Sprintf("RCPT TO:"+path, "you@example.net"))
			if m.From != deviceAccount || !slices.Equal(m.Rcpts, []string{"you@example.net"}) {
				v.t.Errorf("%q: the provider has %q, %q", path, m.From, m.Rcpts)
			}
		}
	},
	"writes `MAIL FROM : <a@example.com>`, or blanks at the end": func(v *visit) {
		v.mail(v.session("starttls"), "MAIL FROM : <"+deviceAccount+">", "RCPT TO : <you@example.net>")
		v.mail(v.session("starttls"), fromScanner+"  ", toYou+" ")
	},
	"says HELO without a name": func(v *visit) {
		d := v.deviceAt("devices", address(trusted))
		d.reply()
		v.accepted(d.say("HELO"))
		v.mail(d, fromScanner, toYou)
	},
	"sends to `a..b.@docomo.example`, to long local parts, to domains with `_` or a final dot": func(v *visit) {
		for _, rcpt := range []string{"a..b.@docomo.example", strings.Repeat("l", 200) + "@example.net", "you@print_room.example", "you@example.net."} {
			if m := v.mail(v.session("starttls"), fromScanner, "RCPT TO:<"+rcpt+">"); !slices.Equal(m.Rcpts, []string{rcpt}) {
				v.t.Errorf("%s: the provider has %q", rcpt, m.Rcpts)
			}
		}
	},
	"puts a From where an address is wanted: `<Scanner <a@example.com>>`, `Scanner <a@example.com>`, `<<a@example.com>>`": func(v *visit) {
		for _, path := range []string{"<Scanner <%s>>", "Scanner <%s>", "<<%s>>"} {
			m := v.mail(v.session("starttls"), fmt.Sprintf("MAIL FROM:"+path, deviceAccount), fmt.Sprintf("RCPT TO:"+path, "you@example.net"))
			if m.From != deviceAccount || !slices.Equal(m.Rcpts, []string{"you@example.net"}) {
				v.t.Errorf("%q: the provider has %q, %q", path, m.From, m.Rcpts)
			}
		}
		d := v.session("starttls")
		for _, path := range []string{"<a@example.com <" + deviceAccount + ">>", "<" + deviceAccount} {
			if reply := d.say("MAIL FROM:" + path); !strings.HasPrefix(reply, "501") {
				v.t.Errorf("%s: %s", path, reply)
			}
		}
		d.leave()
	},
	"writes a list with one address (`<a@example.com>;`), quotes or `mailto:` around an address, or a byte order mark before EHLO": func(v *visit) {
		for _, path := range []string{"<%s>;", "<%s;>", "'%s'", "<mailto:%s>"} {
			m := v.mail(v.session("starttls"), fmt.Sprintf("MAIL FROM:"+path, deviceAccount), fmt.Sprintf("RCPT TO:"+path, "you@example.net"))
			if m.From != deviceAccount || !slices.Equal(m.Rcpts, []string{"you@example.net"}) {
				v.t.Errorf("%q: the provider has %q, %q", path, m.From, m.Rcpts)
			}
		}
		d := v.session("starttls")
		v.accepted(d.say("\ufeffEHLO device"))
		v.accepted(d.say(fromScanner))
		if reply := d.say("RCPT TO:<you@example.net>,<me@example.net>"); !strings.HasPrefix(reply, "501") {
			v.t.Errorf("two addresses: %s", reply)
		}
		d.leave()
	},
	"puts tabs or blanks before, in or behind a command, leaves out the colon (`MAIL FROM <a@example.com>`), writes `SIZE=` or `AUTH=` without a value, or a source route": func(v *visit) {
		for _, mail := range []string{"\tMAIL\tFROM:\t<%s>\t", " MAIL FROM <%s>", "MAIL FROM:<%s> SIZE= AUTH=", "MAIL FROM:<@relay.example:%s>"} {
			if m := v.mail(v.session("starttls"), fmt.Sprintf(mail, deviceAccount), toYou); m.From != deviceAccount {
				v.t.Errorf("%q: the provider has %q", mail, m.From)
			}
		}
	},
	"ends everything with CR CR LF, the final dot too": func(v *visit) {
		before := v.provider.MessageCount()
		d := v.deviceAt("devices", address(inTheClear))
		d.reply()
		for _, line := range []string{"EHLO device", "AUTH PLAIN " + b64("\x00"+deviceAccount+"\x00"+devicePassword), "MAIL FROM:<" + deviceAccount + ">", toYou, "DATA"} {
			d.write(line + "\r\r\n")
		}
		v.accepted(d.write("Subject: page\r\r\n\r\r\nx\r\r\n.\r\r\n"))
		d.leave()
		v.body(v.latest(before), "Subject: page\r\n\r\nx\r\n")
	},
	"sends base64 without padding or with blanks in or behind it, or a NUL or line end after the name or password, or blanks around the name": func(v *visit) {
		for _, auth := range [][]string{
			{"AUTH PLAIN " + strings.TrimRight(b64("\x00"+deviceAccount+"\x00"+devicePassword), "=")},
			{"AUTH PLAIN " + b64("\x00"+deviceAccount+"\x00"+devicePassword) + "  "},
			{"AUTH PLAIN " + b64("\x00"+deviceAccount+"\x00"+devicePassword+"\x00")},
			{"AUTH LOGIN", strings.TrimRight(b64(deviceAccount+"\x00"), "="), b64(devicePassword + "\r\n")},
			{"AUTH LOGIN", b64(deviceAccount + "\n"), b64(devicePassword) + " "},
			{"AUTH LOGIN", b64(" " + deviceAccount + " "), b64(devicePassword)[:8] + " " + b64(devicePassword)[8:]},
		} {
			d := v.device("starttls").hello().startTLS()
			if reply := d.say(auth...); !strings.HasPrefix(reply, "235") {
				v.t.Errorf("%q: %q", auth, reply)
			}
			v.mail(d, fromScanner, toYou)
		}
	},
	"says AUTH after STARTTLS without another EHLO": func(v *visit) {
		d := v.device("starttls").hello()
		d.say("STARTTLS")
		d.handshake(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as devices do
		v.accepted(d.login(deviceAccount, devicePassword))
		v.mail(d, fromScanner, toYou)
	},
	"takes more than 30 s from the connection to the login": func(v *visit) {
		v.closed(v.device("hasty").hello())
		v.byDefault("login_timeout", "30s")
	},
	"sends lines of any length": func(v *visit) {
		for _, n := range []int{10_000, 1 << 20} {
			before := v.provider.MessageCount()
			d := v.session("devices")
			d.say(fromScanner, toYou, "DATA")
			v.accepted(d.say(strings.Repeat("x", n) + "\r\n."))
			d.leave()
			if m := v.latest(before); m.Size != int64(n)+2 {
				v.t.Errorf("the provider has %d octets of %d", m.Size, n)
			}
		}
		d := v.session("devices")
		d.say(fromScanner, toYou, "DATA")
		go func() { _, _ = io.WriteString(d.nc, strings.Repeat("x", 1<<20+1)+"\r\n.\r\n") }()
		d.reply()
		d.leave()
	},
	"sends one connection per page": func(v *visit) {
		conns := make(map[uint64]bool)
		for range 5 {
			conns[v.mail(v.session("starttls"), fromScanner, toYou).Conn] = true
		}
		if len(conns) != 1 {
			v.t.Errorf("%d connections to the provider for 5 pages one after the other", len(conns))
		}
		from := address(anywhere)
		first := v.deviceAt("narrow", from)
		first.reply()
		v.closed(v.deviceAt("narrow", from))
		first.leave()
	},
	"cannot try again after a 4xx": func(v *visit) {
		v.mailAs("away@example.com", false)
		if reply := v.mailAs("kept@example.com", true); !strings.HasPrefix(reply, "250 2.0.0 Queued as ") {
			v.t.Errorf("with a spool: %q", reply)
		}
	},
	"sends From and MAIL FROM of its own (`printer@localhost`)": func(v *visit) {
		d := v.session("starttls")
		d.say("MAIL FROM:<printer@localhost>")
		d.leave()
		v.refusedByProvider()
	},

	// What devices show.
	"authentication failed": func(v *visit) {
		d := v.device("starttls").hello().startTLS()
		d.login(deviceAccount, "an old one")
		d.login("scanner", devicePassword)
		d.leave()
		from := address(anywhere)
		for i := range 5 {
			d := v.deviceAt("starttls", from).hello().startTLS()
			d.login(deviceAccount, fmt.Sprint("guess ", i))
			d.leave()
		}
		v.closed(v.deviceAt("starttls", from))
		if got := v.banned(v.t, from); got.Round(time.Second) != 15*time.Minute {
			v.t.Errorf("banned for %v", got)
		}
	},
	"encryption required": func(v *visit) {
		d := v.device("starttls").hello()
		d.login(deviceAccount, devicePassword)
		d.leave()
	},
	"TLS or SSL error": func(v *visit) {
		for _, cause := range []string{"tls_on_plain_port", "plaintext_on_tls_port", "tls_certificate_refused", "tls_version", "tls_cipher", "tls_failed"} {
			for _, m := range mistakes[cause] {
				server := m.server
				if server == "" {
					server = "starttls"
				}
				d := v.device(server)
				m.do(d)
				d.leave()
			}
		}
	},
	"login required": func(v *visit) {
		d := v.device("starttls").hello()
		d.say(fromScanner)
		d.startTLS()
		d.say(fromScanner)
		d.leave()
	},
	"cannot connect": func(v *visit) {
		if nc, err := net.Dial("tcp", gatewaytest.FreeAddress(v.t)); err == nil {
			nc.Close()
			v.t.Error("connected to nothing")
		}
		// A gateway that cannot listen does not start, and says which address it is.
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			v.t.Fatal(err)
		}
		defer taken.Close()
		if err := caddy.Load(v.caddy("server second "+taken.Addr().String()), true); err == nil || !strings.Contains(err.Error(), "listen") || !strings.Contains(err.Error(), taken.Addr().String()) {
			v.t.Errorf("on an address that is taken: %v", err)
		}
	},
	"sender rejected": func(v *visit) {
		d := v.session("starttls")
		d.say("MAIL FROM:<boss@example.com>")
		d.leave()
		v.refusedByProvider()
	},
	"message too large": func(v *visit) {
		d := v.session("starttls")
		d.say(fromScanner + " SIZE=900000")
		d.leave()
		d = v.device("devices")
		d.reply()
		d.say("EHLO device")
		if !slices.Contains(d.lines, fmt.Sprintf("250-SIZE %d", 25<<20)) {
			v.t.Errorf("announced: %q", d.lines)
		}
		d.leave()
	},
	"try again": func(v *visit) {
		v.mailAs("away@example.com", false)
		v.mailAs(v.limited, true)
		v.mailAs(v.limited, false)
		v.mailAs("stale@example.com", false)
		for account, want := range map[string]string{"away@example.com": "refused", "stale@example.com": "bad_credentials"} {
			if got := v.failure(account); got != want {
				v.t.Errorf("smtp test %s says %q, want %q", account, got, want)
			}
		}
	},
}

// TestDevicesRows plays the rows of the tables of devices.md about what devices
// can do, do wrong and show. Each reply that the page names is heard and each
// that is heard is named, with its enhanced code; the log's lines likewise.
func TestDevicesRows(t *testing.T) {
	o := newOffice(t)
	page, _, _ := strings.Cut(read(t, "devices.md"), "## In the log")
	played := make(map[string]bool)
	for l := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(l), "|"), " | ")
		if !strings.HasPrefix(l, "| ") || strings.HasPrefix(cells[0], " the device") || len(cells) < 3 {
			continue
		}
		name := strings.TrimSpace(cells[0])
		play := rows[name]
		if play == nil {
			t.Errorf("devices.md has a row that nothing plays: %s", name)
			continue
		}
		played[name] = true
		t.Run(name, func(t *testing.T) {
			v := &visit{office: o, t: t}
			play(v)
			// The first table has no replies.
			heard, said := make(map[string]bool), codes(l)
			for _, reply := range v.heard {
				maps.Copy(heard, codes(reply[:min(len(reply), len("451 4.7.10"))]))
			}
			if !maps.Equal(heard, said) {
				t.Errorf("heard %v, devices.md says %v", keys(heard), keys(said))
			}
			logged := make(map[string]bool)
			for _, from := range v.from {
				for _, about := range o.parsed(t, from) {
					if about.Cause != "" {
						logged[about.Cause] = true
						if about.Reply != "" && !slices.Contains(v.heard, about.Reply) {
							t.Errorf("the log says %q of %s, which it did not hear: %q", about.Reply, from, v.heard)
						}
					} else if about.Message == "message" {
						logged["message"] = true
					}
				}
			}
			if want := names(cells); !maps.Equal(logged, want) {
				t.Errorf("the log has %v, devices.md says %v", keys(logged), keys(want))
			}
		})
	}
	for name := range rows {
		if !played[name] {
			t.Errorf("devices.md has no row %q", name)
		}
	}
}

// names are the causes that a row has in its column about the log, and what it
// says of them anywhere. The first table has no such column: there all is well.
func names(cells []string) map[string]bool {
	all := make(map[string]bool)
	known := func(name string) bool { return name == "message" || mistakes[name] != nil }
	found := false
	for _, cell := range cells[1:] {
		for _, m := range causeInCode.FindAllStringSubmatch(cell, -1) {
			if known(m[1]) {
				all[m[1]], found = true, true
			}
		}
		found = found || strings.TrimSpace(cell) == "none"
	}
	if !found {
		all["message"] = true
	}
	return all
}

func codes(text string) map[string]bool {
	all := make(map[string]bool)
	for _, code := range refusalCode.FindAllString(text, -1) {
		all[code] = true
	}
	return all
}

func keys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
