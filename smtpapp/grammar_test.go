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

package smtpapp

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/relay"
)

var mailArgs = []struct {
	args string
	from string
	bad  *relay.Reply
}{
	{"<a@example.com>", "a@example.com", nil},
	{" <a@example.com>", "a@example.com", nil}, // old devices
	{"<>", "", nil},
	{"<a@example.com> ", "a@example.com", nil},
	{"<a@example.com>  SIZE=10", "a@example.com", nil},
	{"<a.b+c=d!#$%&'*-/?^_`{|}~@sub.example.com>", "a.b+c=d!#$%&'*-/?^_`{|}~@sub.example.com", nil},
	{`<"quoted local"@example.com>`, `"quoted local"@example.com`, nil},
	{`<"a@b>c\"\\"@example.com>`, `"a@b>c\"\\"@example.com`, nil},
	{"<a@[192.0.2.1]>", "a@[192.0.2.1]", nil},
	{"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", nil},
	{"<a@localhost>", "a@localhost", nil},
	{"<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example", nil},
	{"<" + strings.Repeat("l", 64) + "@example.com>", strings.Repeat("l", 64) + "@example.com", nil},
	{"<jürgen@bücher.example> SMTPUTF8", "jürgen@bücher.example", nil},
	{`<"jürgen x"@example.com> SMTPUTF8`, `"jürgen x"@example.com`, nil},

	{"", "", relay.ReplyBadSender},
	{"a@example.com", "", relay.ReplyBadSender},
	{"<a@example.com", "", relay.ReplyBadSender},
	{"<a>", "", relay.ReplyBadSender},
	{"<postmaster>", "", relay.ReplyBadSender},
	{"<a@>", "", relay.ReplyBadSender},
	{"<@example.com>", "", relay.ReplyBadSender},
	{"<@relay.example:a@example.com>", "", relay.ReplyBadSender}, // source route
	{"<@a,@b:c@d>", "", relay.ReplyBadSender},
	{"<a@b@c>", "", relay.ReplyBadSender},
	{"<.a@example.com>", "", relay.ReplyBadSender},
	{"<a.@example.com>", "", relay.ReplyBadSender},
	{"<a..b@example.com>", "", relay.ReplyBadSender},
	{"<a b@example.com>", "", relay.ReplyBadSender},
	{"< a@example.com>", "", relay.ReplyBadSender},
	{"<a@example.com >", "", relay.ReplyBadSender},
	{"<a@-example.com>", "", relay.ReplyBadSender},
	{"<a@example-.com>", "", relay.ReplyBadSender},
	{"<a@example..com>", "", relay.ReplyBadSender},
	{"<a@example.com.>", "", relay.ReplyBadSender},
	{"<a@.example.com>", "", relay.ReplyBadSender},
	{"<a@exa_mple.com>", "", relay.ReplyBadSender},
	{"<a@[192.0.2.256]>", "", relay.ReplyBadSender},
	{"<a@[2001:db8::1]>", "", relay.ReplyBadSender},
	{"<a@[IPv6:192.0.2.1]>", "", relay.ReplyBadSender},
	{"<a@[IPv6:fe80::1%eth0]>", "", relay.ReplyBadSender},
	{"<a@[tag:what]>", "", relay.ReplyBadSender},
	{"<a@[]>", "", relay.ReplyBadSender},
	{"<a@[>", "", relay.ReplyBadSender},
	{`<""@example.com>`, "", relay.ReplyBadSender},
	{`<"a"b@example.com>`, "", relay.ReplyBadSender},
	{`<"a@example.com>`, "", relay.ReplyBadSender},
	{`<"a\"@example.com>`, "", relay.ReplyBadSender},
	{"<" + strings.Repeat("l", 65) + "@example.com>", "", relay.ReplyBadSender},
	{"<a@" + strings.Repeat("d", 64) + ".com>", "", relay.ReplyBadSender},
	{"<a@" + strings.Repeat("d.", 126) + "com>", "", relay.ReplyBadSender},
	{"<a\xff@example.com> SMTPUTF8", "", relay.ReplyBadSender},
	{"<a\u0085@example.com> SMTPUTF8", "", relay.ReplyBadSender},
	{"<a@\u2028.example> SMTPUTF8", "", relay.ReplyBadSender},
	{"<jürgen@example.com>", "", relay.ReplyNonASCII},
	{"<a@bücher.example> SIZE=1", "", relay.ReplyNonASCII},

	{"<a@example.com>SIZE=10", "", relay.ReplySyntax},
	{"<a@example.com> SIZE", "", relay.ReplySyntax},
	{"<a@example.com> SIZE=", "", relay.ReplySyntax},
	{"<a@example.com> SIZE=x", "", relay.ReplySyntax},
	{"<a@example.com> SIZE=-1", "", relay.ReplySyntax},
	{"<a@example.com> SIZE=1 SIZE=1", "", relay.ReplySyntax},
	{"<a@example.com> SIZE=123456789012345678901", "", relay.ReplySyntax},
	{"<a@example.com> SIZE=1001", "", relay.ReplyTooBig},
	{"<a@example.com> SIZE=99999999999999999999", "", relay.ReplyTooBig},
	{"<a@example.com> BODY=BINARYMIME", "", relay.ReplySyntax},
	{"<a@example.com> BODY", "", relay.ReplySyntax},
	{"<a@example.com> SMTPUTF8=yes", "", relay.ReplySyntax},
	{"<a@example.com> RET=SOME", "", relay.ReplySyntax},
	{"<a@example.com> ENVID=a+3", "", relay.ReplySyntax},
	{"<a@example.com> ENVID=a+3d", "", relay.ReplySyntax},
	{"<a@example.com> ENVID=a+0A", "", relay.ReplySyntax},
	{"<a@example.com> ENVID=" + strings.Repeat("x", 101), "", relay.ReplySyntax},
	{"<a@example.com> AUTH=", "", relay.ReplySyntax},
	{"<a@example.com> AUTH=nobody", "", relay.ReplySyntax},
	{"<a@example.com> AUTH=a@b+", "", relay.ReplySyntax},
	{"<a@example.com> -X=1", "", relay.ReplySyntax},
	{"<a@example.com> =1", "", relay.ReplySyntax},
	{"<a@example.com> A=b=c", "", relay.ReplySyntax},
	{"<a@example.com> X=1", "", relay.ReplyUnknownParameter},
	{"<a@example.com> REQUIRETLS", "", relay.ReplyUnknownParameter},
	{"<a@example.com> NOTIFY=NEVER", "", relay.ReplyUnknownParameter},
}

func TestMailArgs(t *testing.T) {
	for _, tc := range mailArgs {
		var opts smtp.MailOptions
		from, bad := parseMailArgs(tc.args, 1000, &opts)
		if bad != tc.bad || bad == nil && from != tc.from {
			t.Errorf("%q: got %q, %v; want %q, %v", tc.args, from, bad, tc.from, tc.bad)
		}
	}
}

func TestMailOptions(t *testing.T) {
	var o smtp.MailOptions
	_, bad := parseMailArgs("<a@example.com> size=1000 body=8bitmime SmtpUtf8 RET=hdrs ENVID=QQ+3D1 AUTH=a+2Bb@example.com", 1000, &o)
	if bad != nil {
		t.Fatal(bad)
	}
	if o.Size != 1000 || o.Body != smtp.Body8BitMIME || !o.UTF8 || o.Return != smtp.DSNReturnHeaders ||
		o.EnvelopeID != "QQ=1" || o.Auth == nil || *o.Auth != "a+b@example.com" {
		t.Errorf("%+v", o)
	}
	o = smtp.MailOptions{}
	if _, bad = parseMailArgs("<> AUTH=<> BODY=7BIT", 1000, &o); bad != nil || o.Auth == nil || *o.Auth != "" || o.Body != smtp.Body7Bit {
		t.Errorf("%v, %+v", bad, o)
	}
}

var rcptArgs = []struct {
	args string
	utf8 bool
	to   string
	bad  *relay.Reply
}{
	{"<b@example.org>", false, "b@example.org", nil},
	{"<Postmaster>", false, "Postmaster", nil},
	{"<b@example.org> NOTIFY=NEVER", false, "b@example.org", nil},
	{"<b@example.org> NOTIFY=success,FAILURE,DELAY ORCPT=rfc822;b+2Bc@example.org", false, "b@example.org", nil},
	{"<bü@example.org> ORCPT=utf-8;b\\x{FC}@example.org", true, "bü@example.org", nil},
	{"<b@example.org> ORCPT=UTF-8;bü@example.org", true, "b@example.org", nil},

	{"<>", false, "", relay.ReplyBadRecipient},
	{"b@example.org", false, "", relay.ReplyBadRecipient},
	{"<b>", false, "", relay.ReplyBadRecipient},
	{"<@a:b@example.org>", false, "", relay.ReplyBadRecipient},
	{"<bü@example.org>", false, "", relay.ReplyNonASCII},
	{"<b@example.org> NOTIFY=NEVER,FAILURE", false, "", relay.ReplySyntax},
	{"<b@example.org> NOTIFY=FAILURE,FAILURE", false, "", relay.ReplySyntax},
	{"<b@example.org> NOTIFY=", false, "", relay.ReplySyntax},
	{"<b@example.org> NOTIFY", false, "", relay.ReplySyntax},
	{"<b@example.org> NOTIFY=SOMETIMES", false, "", relay.ReplySyntax},
	{"<b@example.org> NOTIFY=NEVER NOTIFY=NEVER", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=b@example.org", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=x400;b", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=rfc822;", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=rfc822;a+0Ab", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=utf-8;\\x{0A}", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=utf-8;\\x{D800}", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=utf-8;\\x{FC", false, "", relay.ReplySyntax},
	{"<b@example.org> ORCPT=rfc822;a ORCPT=rfc822;a", false, "", relay.ReplySyntax},
	{"<b@example.org> SIZE=1", false, "", relay.ReplyUnknownParameter},
}

func TestRcptArgs(t *testing.T) {
	for _, tc := range rcptArgs {
		var opts smtp.RcptOptions
		to, bad := parseRcptArgs(tc.args, tc.utf8, &opts)
		if bad != tc.bad || bad == nil && to != tc.to {
			t.Errorf("%q: got %q, %v; want %q, %v", tc.args, to, bad, tc.to, tc.bad)
		}
	}
	var o smtp.RcptOptions
	if _, bad := parseRcptArgs("<b@example.org> NOTIFY=success,DELAY ORCPT=rfc822;b+2Bc@example.org", false, &o); bad != nil ||
		len(o.Notify) != 2 || o.Notify[0] != smtp.DSNNotifySuccess || o.Notify[1] != smtp.DSNNotifyDelayed ||
		o.OriginalRecipientType != smtp.DSNAddressTypeRFC822 || o.OriginalRecipient != "b+c@example.org" {
		t.Errorf("%v %+v", bad, o)
	}
	o = smtp.RcptOptions{}
	if _, bad := parseRcptArgs("<b@example.org> ORCPT=utf-8;b\\x{FC}", true, &o); bad != nil || o.OriginalRecipient != "bü" {
		t.Errorf("%v %+v", bad, o)
	}
}

// accepted checks what no accepted address may be, whatever was parsed.
func accepted(t *testing.T, addr string, utf8OK bool) {
	t.Helper()
	if len(addr) > maxMailbox {
		t.Errorf("%q: too long", addr)
	}
	inQuotes := strings.HasPrefix(addr, `"`)
	for i := 0; i < len(addr); i++ {
		c := addr[i]
		if c < 32 || c == 127 || c == ' ' && !inQuotes || c >= 128 && !utf8OK {
			t.Errorf("%q: octet %#x", addr, c)
		}
		if (c == '<' || c == '>') && !inQuotes {
			t.Errorf("%q: bracket", addr)
		}
	}
	if addr != "" && !strings.EqualFold(addr, "postmaster") {
		if i := strings.LastIndexByte(addr, '@'); i <= 0 || i == len(addr)-1 {
			t.Errorf("%q: no domain", addr)
		}
	}
}

func FuzzMailArgs(f *testing.F) {
	for _, tc := range mailArgs {
		f.Add(tc.args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		var o smtp.MailOptions
		from, bad := parseMailArgs(args, 1000, &o)
		if bad != nil {
			if bad.Positive() {
				t.Errorf("refused with %v", bad)
			}
			return
		}
		accepted(t, from, o.UTF8)
		if o.Size < 0 || o.Size > 1000 {
			t.Errorf("size %d", o.Size)
		}
		if strings.ContainsAny(o.EnvelopeID, "\r\n\x00") {
			t.Errorf("envid %q", o.EnvelopeID)
		}
	})
}

func FuzzRcptArgs(f *testing.F) {
	for _, tc := range rcptArgs {
		f.Add(tc.args, tc.utf8)
	}
	f.Fuzz(func(t *testing.T, args string, utf8OK bool) {
		var o smtp.RcptOptions
		to, bad := parseRcptArgs(args, utf8OK, &o)
		if bad != nil {
			return
		}
		accepted(t, to, utf8OK)
		if to == "" {
			t.Error("null recipient")
		}
		if strings.ContainsAny(o.OriginalRecipient, "\r\n\x00") {
			t.Errorf("orcpt %q", o.OriginalRecipient)
		}
	})
}

// FuzzCommands feeds a session whatever comes. It must not panic, must answer
// with well-formed replies only, and must never deliver without a login.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n",
		"HELO x\r\nAUTH LOGIN\r\nYQ==\r\nYQ==\r\n*\r\n",
		"EHLO x\r\nAUTH PLAIN =\r\nAUTH PLAIN AGEAYg==\r\n",
		"BDAT 4\r\nabcdBDAT 0 LAST\r\nNOOP\n",
		"\r\n\r\n \r\n\x00\r\nSTARTTLS\r\n",
		"MAIL FROM:<" + strings.Repeat("a", 3000) + "\r\nNOOP\r\n",
	} {
		f.Add([]byte(s), uint16(5))
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		up := new(fakeUpstream)
		source := new(testSource)
		source.index.Set(mustCompile(t, testRecord(testUser)))
		g := newTestGeneration(t, up, source, testPolicy())
		p := newPoint()
		p.attach(g)
		nc := &scriptConn{in: cutReader{b: raw, cut: int(cut%512) + 1}}
		p.Serve(g.front, nc, nil)
		if len(up.taken()) != 0 {
			t.Fatal("delivered without a login")
		}
		if left := g.front.Load(); left != (front.Load{}) {
			t.Errorf("places left over: %+v", left)
		}
		out := nc.out.String()
		if out != "" && !strings.HasSuffix(out, "\r\n") {
			t.Errorf("output does not end with a line: %q", out)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if len(line) < 4 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("reply line %q", line)
			}
		}
	})
}
