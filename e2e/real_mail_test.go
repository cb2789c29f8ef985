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

package e2e

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// realMail is a message as MTAs and programs send them.
type realMail struct {
	name   string
	mail   string   // what stands behind MAIL FROM:<...>
	null   bool     // the null sender
	rcpts  []string // one if there is none
	header string   // From and To of the two, if it has none of its own
	body   string
	raw    bool // header and body are all of it
	// What the client hears of each API, if not 250. SMTP takes all, but for NUL.
	graph, gmail string
	note         string
}

const (
	to      = "to@example.net"
	ownTo   = "From: {box}\r\nTo: to@example.net\r\nSubject: x\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
	textish = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
)

func many(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("r%d@example.net", i)
	}
	return all
}

func toSize(n int) string {
	line := strings.Repeat("x", 76) + "\r\n"
	s := strings.Repeat(line, n/len(line)+1)[:n-2]
	return strings.TrimRight(s, "\r\n") + strings.Repeat("y", len(s)-len(strings.TrimRight(s, "\r\n"))) + "\r\n"
}

func realMails() []realMail {
	mixed := func(kind, part, body string) string {
		return ownTo + "MIME-Version: 1.0\r\nContent-Type: " + kind + "; boundary=\"b 1\"\r\n\r\npreamble\r\n--b 1\r\nContent-Type: " + part + "\r\n\r\n" + body + "\r\n--b 1--\r\n"
	}
	head := len(strings.ReplaceAll(ownTo, "{box}", "graph@example.com")) + 2
	return []realMail{
		{name: "plain", header: ownTo, body: "hello\r\n"},
		{name: "multipart, 8-bit", mail: " BODY=8BITMIME", raw: true, header: mixed("multipart/mixed", "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", "Gr\u00fc\u00dfe")},
		{name: "no From", header: "To: to@example.net\r\nSubject: x\r\n", body: "hello\r\n"},
		{name: "an empty From", graph: "550 5.7.60", header: "From:\r\nTo: to@example.net\r\n", body: "hello\r\n"},
		{name: "two From fields", graph: "554 5.6.0", gmail: "554 5.6.0", note: "who sends it has to be said once", header: ownTo + "From: ceo@example.com\r\n", body: "hello\r\n"},
		{name: "two addresses in From", graph: "550 5.7.60", note: "Gmail puts the mailbox in their place", header: "From: {box}, other@example.com\r\nSender: {box}\r\nTo: to@example.net\r\n", body: "hello\r\n"},
		{name: "another's From", graph: "550 5.7.60", note: "Gmail puts the mailbox in its place", header: "From: ceo@example.com\r\nTo: to@example.net\r\n", body: "hello\r\n"},
		{name: "another Sender", header: ownTo + "Sender: secretary@example.com\r\n", body: "hello\r\n"},
		{name: "resent", header: "Resent-From: {box}\r\nResent-To: to@example.net\r\nResent-Date: Thu, 26 Nov 2026 10:00:00 +0000\r\nFrom: {box}\r\nTo: to@example.net\r\n", body: "hello\r\n"},
		{name: "resent to another", graph: "554 5.6.0", gmail: "554 5.6.0", note: "To would be sent to again", rcpts: []string{"new@example.net"}, header: "Resent-From: {box}\r\nResent-To: new@example.net\r\nFrom: first@example.org\r\nTo: to@example.net\r\n", body: "hello\r\n"},
		{name: "a list's post", graph: "554 5.6.0", gmail: "554 5.6.0", note: "the list would be sent to again", rcpts: []string{"member@example.net"}, header: "From: author@example.org\r\nTo: list@example.com\r\nList-Id: <list.example.com>\r\nList-Post: <mailto:list@example.com>\r\nList-Unsubscribe: <mailto:list-leave@example.com>, <https://example.com/u>\r\nPrecedence: list\r\n", body: "hello\r\n"},
		{name: "List fields", header: ownTo + "List-Id: <list.example.com>\r\nList-Unsubscribe: <mailto:leave@example.com>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nPrecedence: bulk\r\n", body: "hello\r\n"},
		{name: "a bounce", graph: "550 5.7.1", gmail: "550 5.7.1", note: "`null_sender`", null: true, header: "From: MAILER-DAEMON@gateway.test\r\nTo: to@example.net\r\nAuto-Submitted: auto-replied\r\n", body: "hello\r\n"},
		{name: "a delivery report", graph: "550 5.7.1", gmail: "550 5.7.1", note: "`null_sender`", null: true, raw: true, header: mixed("multipart/report; report-type=delivery-status", "message/delivery-status", "Reporting-MTA: dns; x")},
		{name: "a delivery report with a sender", raw: true, header: mixed("multipart/report; report-type=delivery-status", "message/delivery-status", "Reporting-MTA: dns; x")},
		{name: "an invitation", raw: true, header: mixed("multipart/alternative", "text/calendar; method=REQUEST; charset=utf-8", "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nATTENDEE:mailto:other@example.org\r\nEND:VCALENDAR")},
		{name: "S/MIME, signed", raw: true, header: mixed("multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256", "text/plain", "trailing blanks  \t\r\n-- \r\nsignature")},
		{name: "S/MIME, encrypted", header: ownTo + "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n", body: "MIAGCSqGSIb3DQEHA6CAMIACAQAxggFAMIIBPAIBADAkMBgxFjAUBgNVBAMMDXNhbmRib3g=\r\n"},
		{name: "OpenPGP", raw: true, header: mixed("multipart/encrypted; protocol=\"application/pgp-encrypted\"", "application/octet-stream", "-----BEGIN PGP MESSAGE-----\r\n\r\n- From dashes\r\n=abcd\r\n-----END PGP MESSAGE-----")},
		{name: "DKIM before the gateway", note: "Gmail itself wraps text again, and the signature fails", header: "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=example.com; s=s;\r\n\th=from:to:subject; bh=abc=;\r\n\tb=def=\r\n" + ownTo, body: "hello \r\n\r\n\r\n"},
		{name: "winmail.dat", raw: true, header: mixed("multipart/mixed", "application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64", "eJ8+IgsQAQaQCAAEAAAAAAABAAEAAQeQBgAIAAAA5AQAAAAAAADoAA==")},
		{name: "UTF-8 in the header, unannounced", header: "From: J\u00f6rg <{box}>\r\nTo: \u00c4nne <to@example.net>\r\nSubject: Gr\u00fc\u00dfe\r\n", body: "hello\r\n"},
		{name: "UTF-8 in the header, SMTPUTF8", mail: " BODY=8BITMIME SMTPUTF8", header: "From: J\u00f6rg <{box}>\r\nTo: \u00c4nne <to@example.net>\r\nSubject: Gr\u00fc\u00dfe\r\n", body: "Gr\u00fc\u00dfe\r\n"},
		{name: "a UTF-8 recipient", graph: "550 5.6.7", gmail: "550 5.6.7", mail: " SMTPUTF8", rcpts: []string{"j\u00f6rg@example.net"}, header: "From: {box}\r\nTo: j\u00f6rg@example.net\r\n", body: "hello\r\n"},
		{name: "an IDN domain as xn--", rcpts: []string{"to@xn--mller-kva.example"}, header: "From: {box}\r\nTo: to@xn--mller-kva.example\r\n", body: "hello\r\n"},
		{name: "an IDN domain in the header alone", graph: "554 5.6.0", gmail: "554 5.6.0", note: "the envelope says xn--", rcpts: []string{"to@xn--mller-kva.example"}, header: "From: {box}\r\nTo: to@m\u00fcller.example\r\n", body: "hello\r\n"},
		{name: "lines of 998 octets", header: ownTo, body: strings.Repeat("a", 998) + "\r\n" + strings.Repeat("b", 998) + "\r\n"},
		{name: "lines of 5,000 octets", header: ownTo, body: strings.Repeat("a", 5000) + "\r\n"},
		{name: "a field of 5,000 octets", header: ownTo + "References: " + strings.Repeat("<1234567890@example.com>\r\n ", 200) + "<x@y>\r\n", body: "hello\r\n"},
		{name: "a bare LF in the body", note: "the server makes CRLF of it", header: ownTo, body: "one\ntwo\r\n"},
		{name: "a bare LF in the header", graph: "554 5.6.0", gmail: "554 5.6.0", note: "the server makes CRLF of it, and what follows a field", header: ownTo + "X-A: b\nBcc: evil@example.org\r\n", body: "hello\r\n"},
		{name: "a bare CR in the body", note: "the server makes CRLF of it", header: ownTo, body: "one\rtwo\r\n"},
		{name: "no Date, no Message-ID", header: "From: {box}\r\nTo: to@example.net\r\n", body: "hello\r\n"},
		{name: "NUL in the body", graph: "554 5.6.0", gmail: "554 5.6.0", note: "refused by the server", header: ownTo, body: "a\x00b\r\n"},
		{name: "NUL in the header", graph: "554 5.6.0", gmail: "554 5.6.0", note: "refused by the server", header: ownTo + "X-A: a\x00b\r\n", body: "hello\r\n"},
		{name: "3,000,000 octets less one", header: ownTo, body: toSize(3_000_000 - 1 - head)},
		{name: "3,000,000 octets", header: ownTo, body: toSize(3_000_000 - head)},
		{name: "3,000,000 octets and one", graph: "552 5.3.4", header: ownTo, body: toSize(3_000_000 + 1 - head)},
		{name: "an empty body", header: ownTo},
		{name: "a header without its end", raw: true, header: ownTo},
		{name: "nothing at all", raw: true},
		{name: "a body without a header", raw: true, header: "\r\nhello\r\n"},
		{name: "text without a header", graph: "554 5.6.0", gmail: "554 5.6.0", raw: true, header: "hello, this is cron\r\n\r\nbye\r\n"},
		{name: "a From line of mbox", graph: "554 5.6.0", gmail: "554 5.6.0", header: "From box@example.com Thu Nov 26 10:00:00 2026\r\n" + ownTo, body: "hello\r\n"},
		{name: "500 recipients", rcpts: many(500), header: "From: {box}\r\nTo: undisclosed-recipients:;\r\n", body: "hello\r\n"},
		{name: "501 recipients", graph: "452 4.5.3", gmail: "452 4.5.3", note: "the client sends the rest by itself", rcpts: many(501), header: "From: {box}\r\nTo: undisclosed-recipients:;\r\n", body: "hello\r\n"},
		{name: "500 recipients in To", rcpts: many(500), header: "From: {box}\r\nTo: " + strings.Join(many(500), ",\r\n\t") + "\r\n", body: "hello\r\n"},
		{name: "one twice, in other capitals", rcpts: []string{"to@example.net", "To@Example.NET"}, header: ownTo, body: "hello\r\n"},
		{name: "plus addresses", rcpts: []string{"to+a@example.net", "to+b@example.net"}, header: "From: {box}\r\nTo: to+a@example.net\r\nCc: to+b@example.net\r\n", body: "hello\r\n"},
		{name: "a quoted local part", rcpts: []string{`"a b"@example.net`}, header: "From: {box}\r\nTo: \"a b\"@example.net\r\n", body: "hello\r\n"},
		{name: "quotes that are not needed", rcpts: []string{"to@example.net"}, header: "From: {box}\r\nTo: \"to\"@example.net\r\n", body: "hello\r\n"},
		{name: "a group", rcpts: []string{"a@example.net", "b@example.net"}, header: "From: {box}\r\nTo: friends: a@example.net, B <b@example.net>;\r\n", body: "hello\r\n"},
		{name: "no recipient in the header", note: "the same", header: "From: {box}\r\nSubject: x\r\n", body: "hello\r\n"},
		{name: "Bcc in the header", note: "the field is taken off", rcpts: []string{"to@example.net", "blind@example.net"}, header: ownTo + "Bcc: blind@example.net\r\n", body: "hello\r\n"},
		{name: "a blind copy", note: "a field Bcc names it, and is taken off", rcpts: []string{"to@example.net", "blind@example.net"}, header: ownTo, body: "hello\r\n"},
		{name: "semicolons, as Outlook shows lists", graph: "554 5.6.0", gmail: "554 5.6.0", rcpts: []string{"a@example.net", "b@example.net"}, header: "From: {box}\r\nTo: a@example.net; b@example.net\r\n", body: "hello\r\n"},
		{name: "a name with a comma, unquoted", graph: "554 5.6.0", gmail: "554 5.6.0", note: "two addresses to some readers", header: "From: {box}\r\nTo: Doe, John <to@example.net>\r\n", body: "hello\r\n"},
		{name: "a name with a full stop", header: "From: J. Doe <{box}>\r\nTo: Dr. Who <to@example.net>\r\n", body: "hello\r\n"},
		{name: "an address as its own name", graph: "554 5.6.0", gmail: "554 5.6.0", note: "quotes help", header: "From: {box}\r\nTo: to@example.net <to@example.net>\r\n", body: "hello\r\n"},
		{name: "an address as its own name, quoted", header: "From: {box}\r\nTo: \"to@example.net\" <to@example.net>\r\n", body: "hello\r\n"},
		{name: "lines that begin with dots", header: ownTo, body: ".\r\n..\r\n.x\r\n"},
		{name: "Apparently-To", note: "not sent to", header: "From: {box}\r\nApparently-To: other@example.net\r\nErrors-To: other@example.net\r\nReturn-Receipt-To: {box}\r\nDisposition-Notification-To: {box}\r\n", body: "hello\r\n"},
		{name: "RET and ENVID", graph: "555 5.5.4", gmail: "555 5.5.4", mail: " RET=HDRS ENVID=abc", header: ownTo, body: "hello\r\n"},
		{name: "quoted-printable", header: ownTo + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n", body: "Gr=C3=BC=C3=9Fe =\r\nund =3D\r\n"},
	}
}

// TestRealMail sends what MTAs send through each API, and through SMTP and Graph as
// the gateway chooses, with SMTP and where that is shut: what arrives is right, or is refused with words.
func TestRealMail(t *testing.T) {
	for _, way := range []string{"graph", "gmail", "choice", "shut"} {
		t.Run(way, func(t *testing.T) { realMailBy(t, way) })
	}
}

func realMailBy(t *testing.T, way string) {
	// What is known of a mailbox outlives its upstream. Sizes count on its length.
	box := strings.ToLower(rand.Text()[:5]) + "@example.com"
	a := account(box, box)
	upstream := way + rand.Text()
	a["upstream"] = upstream
	a["senders"] = []string{"*"}
	w := buildWorld(t, withAccount(a), withServer("max_recipients", 1000), withSandbox(func(sb *sandbox.App) {
		sb.Profile = map[string]string{"graph": "microsoft", "gmail": "google", "choice": "microsoft", "shut": "microsoft"}[way]
		sb.KeepMessages, sb.GmailUnitsPerMinute, sb.MessagesPerMinute = 1000, -1, -1
	}))
	t.Cleanup(func() { w.sandbox.Close() })
	kind := way
	chosen := way == "choice" || way == "shut"
	if chosen {
		kind = "graph"
	}
	api := object{"transport": kind, "provider": "sandbox", "endpoint": w.sandbox.HTTPURL()}
	if kind == "gmail" {
		api["userinfo_url"] = w.sandbox.HTTPURL() + "/userinfo"
		api["messages_per_account"] = "100000/24h"
	}
	upstreams := w.app("smtp_upstreams")["upstreams"].(object)
	if chosen {
		w.upstream()["rate_per_account"], w.upstream()["recipients_per_account"] = "100000/1m", "100000/24h"
		api["ledger"] = "sandbox"
		upstreams["api"+upstream] = api
		upstreams[upstream] = object{"transport": "choice", "upstreams": []string{"sandbox", "api" + upstream}}
	} else {
		api["rate_per_account"], api["recipients_per_account"] = "100000/1m", "100000/24h"
		upstreams[upstream] = api
	}
	w.load()
	t.Cleanup(w.close)
	if way == "shut" {
		if _, err := w.sandbox.AddFault(sandbox.Fault{
			Stage: "auth", Action: "reply",
			Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
		}); err != nil {
			t.Fatal(err)
		}
	}
	seen := uint64(0)
	for _, m := range realMails() {
		if len(m.rcpts) == 0 {
			m.rcpts = []string{to}
		}
		msg := strings.ReplaceAll(m.header, "{box}", box)
		if !m.raw {
			msg += "\r\n" + m.body
		}
		want := map[string]string{"graph": m.graph, "gmail": m.gmail, "shut": m.graph}[way]
		if strings.HasPrefix(m.name, "NUL ") {
			want = m.graph
		}
		got := m.send(w.addr, box, msg)
		if !strings.HasPrefix(got, cmp.Or(want, "250 ")) {
			t.Errorf("%s: %s, want %s", m.name, got, cmp.Or(want, "250"))
		}
		// A sender is told more than a code.
		if want != "" && len(got) < len("554 5.6.0 ")+10 {
			t.Errorf("%s: %s", m.name, got)
		}
		arrived := w.sandbox.MessagesAfter(seen, 10)
		if strings.HasPrefix(got, "250 ") != (len(arrived) == 1) || len(arrived) > 1 {
			t.Errorf("%s: %s, and %d are there", m.name, got, len(arrived))
		}
		if len(arrived) > 0 {
			seen = arrived[len(arrived)-1].ID
			if to, want := folded(arrived[0].Rcpts), folded(m.rcpts); !slices.Equal(to, want) {
				t.Errorf("%s went to %q, want %q", m.name, to, want)
			}
			if body, want := string(arrived[0].Body), m.arrives(msg, box, way); body != want {
				t.Errorf("%s arrived as %.1000q, want %.1000q", m.name, body, want)
			}
		}
	}
}

// arrives is the message as the provider has it.
func (m *realMail) arrives(msg, box, way string) string {
	// The server's own doing, for all transports.
	msg = strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n", "\r", "\r\n").Replace(msg)
	if way == "choice" {
		return msg
	}
	msg = strings.Replace(msg, "\r\nBcc: blind@example.net\r\n", "\r\n", 1)
	if way == "gmail" && strings.Contains(m.note, "Gmail puts the mailbox") || way == "gmail" && strings.HasPrefix(msg, "From:\r\n") {
		_, rest, _ := strings.Cut(msg, "\r\n")
		msg = "From: " + box + "\r\n" + rest
	}
	return msg
}

func folded(s []string) []string {
	s = slices.Clone(s)
	for i := range s {
		s[i] = strings.ToLower(s[i])
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// TestRealMailTable holds the table of docs/transports.md to what was sent.
func TestRealMailTable(t *testing.T) {
	page, err := os.ReadFile("../docs/transports.md")
	if err != nil {
		t.Fatal(err)
	}
	outcome := func(code string) string {
		if code == "" {
			return "arrives"
		}
		return "`" + code + "`"
	}
	for _, m := range realMails() {
		if row := fmt.Sprintf("| %s | %s | %s | %s |\n", m.name, outcome(m.graph), outcome(m.gmail), m.note); !strings.Contains(string(page), strings.ReplaceAll(row, "|  |", "| |")) {
			t.Errorf("docs/transports.md has no row %s", row)
		}
	}
}

// send sends a message and returns the last reply.
func (m *realMail) send(addr, user, msg string) string {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	from := "<" + user + ">"
	if m.null {
		from = "<>"
	}
	steps := []string{"", "EHLO client.test", "AUTH PLAIN " + plain(user, testPassword), "MAIL FROM:" + from + m.mail}
	for _, r := range m.rcpts {
		steps = append(steps, "RCPT TO:<"+r+">")
	}
	lines := strings.SplitAfter(msg, "\r\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = "." + l
		}
	}
	steps = append(steps, "DATA", strings.Join(lines, "")+".")
	said := ""
	for _, step := range steps {
		if step != "" {
			if err := c.PrintfLine("%s", step); err != nil {
				return err.Error()
			}
		}
		code, text, err := c.ReadResponse(0)
		if err != nil && code == 0 {
			return err.Error()
		}
		if said = fmt.Sprintf("%d %s", code, text); code >= 400 {
			break
		}
	}
	return said
}
