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

package grammar

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

var mailArgs = []struct {
	args string
	from string
	bad  *relay.Reply
}{
	{"<a@example.com>", "a@example.com", nil},
	{" <a@example.com>", "", relay.ReplyBadSender},
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
	{"<@relay.example:a@example.com>", "a@example.com", nil}, // source route
	{"<@a,@b:c@d>", "c@d", nil},
	{"<@a,b:c@d>", "", relay.ReplyBadSender},
	{"<@a,@b:@c:d@e>", "", relay.ReplyBadSender},
	{"<@:c@d>", "", relay.ReplyBadSender},
	{"<@a:>", "", relay.ReplyBadSender},
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
		from, bad := ParseMail(tc.args, true, 1000, &opts)
		if bad != tc.bad || bad == nil && from != tc.from {
			t.Errorf("%q: got %q, %v; want %q, %v", tc.args, from, bad, tc.from, tc.bad)
		}
	}
}

// tolerated are what devices write in place of a path and what it is taken for:
// "" where it is refused all the same. Strict refuses all of them.
var tolerated = map[string]string{
	" <a@example.com>":                               "a@example.com",
	"   <a@example.com>":                             "a@example.com",
	"< a@example.com >":                              "a@example.com",
	"<a@example.com >  SIZE=10":                      "a@example.com",
	"a@example.com":                                  "a@example.com",
	" a@example.com":                                 "a@example.com",
	"a@example.com SIZE=10":                          "a@example.com",
	"a@example.com  ":                                "a@example.com",
	`"a b"@example.com SIZE=10`:                      `"a b"@example.com`,
	`"a> b"@example.com`:                             "",
	"<a..b@docomo.example>":                          "a..b@docomo.example",
	"<a.@docomo.example>":                            "a.@docomo.example",
	"<.a@docomo.example>":                            ".a@docomo.example",
	"<a@exa_mple.com>":                               "a@exa_mple.com",
	"<a@_dmarc.example.com>":                         "a@_dmarc.example.com",
	"<a@example.com.>":                               "a@example.com.",
	"a@example.com.":                                 "a@example.com.",
	"<" + strings.Repeat("l", 65) + "@example.com>":  strings.Repeat("l", 65) + "@example.com",
	"<" + strings.Repeat("l", 255) + "@example.com>": strings.Repeat("l", 255) + "@example.com",
	"<" + strings.Repeat("l", 256) + "@example.com>": "",

	// A From where an address is wanted.
	"<<a@example.com>>":                            "a@example.com",
	"<Scanner <a@example.com>>":                    "a@example.com",
	"<Scanner < a@example.com > > SIZE=10":         "a@example.com",
	"A <a@example.com>":                            "a@example.com",
	`"A. B>c" <a@example.com>`:                     "a@example.com",
	"(A) <a@example.com>":                          "a@example.com",
	"<a@example.com> (A B) SIZE=10":                "a@example.com",
	"a@example.com (A B)":                          "a@example.com",
	"<a@example.com>SIZE=10":                       "a@example.com",
	"<a@example.com> SIZE=":                        "a@example.com",
	"<a@example.com> SIZE SIZE=10 SIZE=11":         "a@example.com",
	"@relay.example,@b_c.example.:a@example.com":   "a@example.com",
	"a@example.com (A (B))":                        "",
	"a@example.com (A":                             "",
	"A <>":                                         "",
	"<A <>>":                                       "",
	"<A <a@example.com>":                           "",
	"<b@example.com <a@example.com>>":              "",
	"<a@example.com <>>":                           "",
	"A, <a@example.com>":                           "",
	`"A <a@example.com>`:                           "",
	"<A <B <a@example.com>>>":                      "",
	"SIZE=1 <a@example.com>":                       "",
	"<@relay.example:a@example.com,b@example.com>": "",
	"<@relay.example a@example.com>":               "",

	// What would be ambiguous, or could hide something.
	"":                               "",
	" ":                              "",
	"<":                              "",
	">":                              "",
	"<a@example.com":                 "",
	"a@example.com>":                 "",
	"<a@example.com>>":               "",
	"a@example.com <b@example.com>":  "",
	"<a@example.com><b@example.com>": "",
	"a b@example.com":                "",
	"<a b@example.com>":              "",
	"<...@example.com>":              "",
	"<a@example.com..>":              "",
	"<a@.>":                          "",
	"<a@>":                           "",
	"<a>":                            "",
	"<a@[192.0.2.1].>":               "",
	"a,b@example.com":                "",
	"a@example.com;b@example.com":    "",
	"<a@-example.com>":               "",
}

func TestTolerance(t *testing.T) {
	for args, want := range tolerated {
		if from, bad := ParseMail(args, false, 1000, new(smtp.MailOptions)); from != want || (bad == nil) != (want != "") {
			t.Errorf("MAIL FROM:%s: got %q, %v; want %q", args, from, bad, want)
		}
		if from, bad := ParseMail(args, true, 1000, new(smtp.MailOptions)); bad == nil {
			t.Errorf("MAIL FROM:%s: strict takes it as %q", args, from)
		}
		if strings.Contains(args, "SIZE") {
			continue
		}
		if to, bad := ParseRcpt(args, false, false, new(smtp.RcptOptions)); bad == nil && to != want || (bad == nil) != (want != "") {
			t.Errorf("RCPT TO:%s: got %q, %v; want %q", args, to, bad, want)
		}
	}
	// What strict takes, and other than by the rule above means the same.
	for _, tc := range mailArgs {
		if tc.bad != nil {
			continue
		}
		if from, bad := ParseMail(tc.args, false, 1000, new(smtp.MailOptions)); from != tc.from || bad != nil {
			t.Errorf("MAIL FROM:%s: got %q, %v; want %q", tc.args, from, bad, tc.from)
		}
	}
}

func TestCutColon(t *testing.T) {
	for s, want := range map[string]struct {
		rest            string
		strict, lenient bool
	}{
		"FROM:<a>":   {"<a>", true, true},
		"from:<a>":   {"<a>", true, true},
		"FROM:":      {"", true, true},
		"FROM :<a>":  {"<a>", false, true},
		" FROM: <a>": {" <a>", false, true},
		"  FROM  :a": {"a", false, true},
		"FROM <a>":   {"<a>", false, true},
		"FROM<a>":    {"<a>", false, true},
		"FROM a":     {"", false, false},
		"FROMX:<a>":  {"", false, false},
		"FRO:<a>":    {"", false, false},
		"":           {"", false, false},
		"TO:<a>":     {"", false, false},
	} {
		for _, strict := range []bool{true, false} {
			rest, ok := CutColon(s, "FROM", strict)
			if wanted := strict && want.strict || !strict && want.lenient; ok != wanted || ok && rest != want.rest {
				t.Errorf("%q, strict %v: %q, %v", s, strict, rest, ok)
			}
		}
	}
}

// roundtrip holds that what is sent upstream, in brackets and without what was
// tolerated around it, is read as what it is.
func roundtrip(t *testing.T, addr string, strict, utf8OK bool) {
	t.Helper()
	if addr == "" {
		return
	}
	args := "<" + addr + ">"
	if strings.ContainsAny(args, "\r\n\x00") {
		t.Errorf("%q", args)
	}
	if again, bad := ParseRcpt(args, strict, utf8OK, new(smtp.RcptOptions)); bad != nil || again != addr {
		t.Errorf("%q became %q, %v", addr, again, bad)
	}
	if inner, rest, ok := cutBrackets(args); !ok || inner != addr || rest != "" {
		t.Errorf("%q is not one path: %q, %q", args, inner, rest)
	}
}

func TestMailOptions(t *testing.T) {
	var o smtp.MailOptions
	_, bad := ParseMail("<a@example.com> size=1000 body=8bitmime SmtpUtf8 RET=hdrs ENVID=QQ+3D1 AUTH=a+2Bb@example.com", true, 1000, &o)
	if bad != nil {
		t.Fatal(bad)
	}
	if o.Size != 1000 || o.Body != smtp.Body8BitMIME || !o.UTF8 || o.Return != smtp.DSNReturnHeaders ||
		o.EnvelopeID != "QQ=1" || o.Auth == nil || *o.Auth != "a+b@example.com" {
		t.Errorf("%+v", o)
	}
	o = smtp.MailOptions{}
	if _, bad = ParseMail("<> AUTH=<> BODY=7BIT", true, 1000, &o); bad != nil || o.Auth == nil || *o.Auth != "" || o.Body != smtp.Body7Bit {
		t.Errorf("%v, %+v", bad, o)
	}
}

func TestTolerantOptions(t *testing.T) {
	for args, want := range map[string]struct {
		auth string
		body smtp.BodyType
		bad  *relay.Reply
	}{
		"AUTH=":                     {},
		"AUTH":                      {},
		"AUTH=printer":              {},
		"AUTH=<a@example.com>":      {},
		"AUTH=a@example.com":        {auth: "a@example.com"},
		"AUTH=a@b AUTH=a@b":         {bad: relay.ReplySyntax},
		"AUTH= BODY= BODY=8BITMIME": {bad: relay.ReplySyntax},
		"AUTH= BODY=":               {},
		"body=8bitmime auth=":       {body: smtp.Body8BitMIME},
		"AUTH= BODY=BINARYMIME":     {bad: relay.ReplySyntax},
		"AUTH= ENVID=":              {bad: relay.ReplySyntax},
		"AUTH= RET=":                {bad: relay.ReplySyntax},
		"AUTH= SMTPUTF8=":           {bad: relay.ReplySyntax},
		"AUTH= X=":                  {bad: relay.ReplyUnknownParameter},
	} {
		var o smtp.MailOptions
		_, bad := ParseMail("<a@example.com> "+args, false, 1000, &o)
		if bad != want.bad || bad == nil && (o.Auth == nil || *o.Auth != want.auth || o.Body != want.body) {
			t.Errorf("%s: %v, %+v", args, bad, o)
		}
	}
	if _, bad := ParseRcpt("<a@example.com> NOTIFY=", false, false, new(smtp.RcptOptions)); bad != relay.ReplySyntax {
		t.Errorf("NOTIFY=: %v", bad)
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
	{"<@a:b@example.org>", false, "b@example.org", nil},
	{"<b@example.org> NOTIFY=NEVER", false, "b@example.org", nil},
	{"<b@example.org> NOTIFY=success,FAILURE,DELAY ORCPT=rfc822;b+2Bc@example.org", false, "b@example.org", nil},
	{"<bü@example.org> ORCPT=utf-8;b\\x{FC}@example.org", true, "bü@example.org", nil},
	{"<b@example.org> ORCPT=UTF-8;bü@example.org", true, "b@example.org", nil},

	{"<>", false, "", relay.ReplyBadRecipient},
	{"b@example.org", false, "", relay.ReplyBadRecipient},
	{"<b>", false, "", relay.ReplyBadRecipient},
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
		to, bad := ParseRcpt(tc.args, true, tc.utf8, &opts)
		if bad != tc.bad || bad == nil && to != tc.to {
			t.Errorf("%q: got %q, %v; want %q, %v", tc.args, to, bad, tc.to, tc.bad)
		}
	}
	var o smtp.RcptOptions
	if _, bad := ParseRcpt("<b@example.org> NOTIFY=success,DELAY ORCPT=rfc822;b+2Bc@example.org", true, false, &o); bad != nil ||
		len(o.Notify) != 2 || o.Notify[0] != smtp.DSNNotifySuccess || o.Notify[1] != smtp.DSNNotifyDelayed ||
		o.OriginalRecipientType != smtp.DSNAddressTypeRFC822 || o.OriginalRecipient != "b+c@example.org" {
		t.Errorf("%v %+v", bad, o)
	}
	o = smtp.RcptOptions{}
	if _, bad := ParseRcpt("<b@example.org> ORCPT=utf-8;b\\x{FC}", true, true, &o); bad != nil || o.OriginalRecipient != "bü" {
		t.Errorf("%v %+v", bad, o)
	}
}

// accepted checks what no accepted address may be, whatever was parsed.
func accepted(t *testing.T, addr string, utf8OK bool) {
	t.Helper()
	if len(addr) > maxMailboxTolerant {
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
		f.Add(tc.args, true)
	}
	for args := range tolerated {
		f.Add(args, false)
	}
	f.Fuzz(func(t *testing.T, args string, strict bool) {
		var o smtp.MailOptions
		from, bad := ParseMail(args, strict, 1000, &o)
		if bad != nil {
			if bad.Positive() {
				t.Errorf("refused with %v", bad)
			}
			return
		}
		accepted(t, from, o.UTF8)
		roundtrip(t, from, strict, o.UTF8)
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
		f.Add(tc.args, true, tc.utf8)
	}
	for args := range tolerated {
		f.Add(args, false, false)
	}
	f.Fuzz(func(t *testing.T, args string, strict, utf8OK bool) {
		var o smtp.RcptOptions
		to, bad := ParseRcpt(args, strict, utf8OK, &o)
		if bad != nil {
			return
		}
		accepted(t, to, utf8OK)
		roundtrip(t, to, strict, utf8OK)
		if to == "" {
			t.Error("null recipient")
		}
		if strings.ContainsAny(o.OriginalRecipient, "\r\n\x00") {
			t.Errorf("orcpt %q", o.OriginalRecipient)
		}
	})
}
