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
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// refusedWith has each of our negative replies that a client's doing brings about, with
// what does so and the cause under which /smtp/refusals has it.
var refusedWith = map[string]struct {
	change func(*policy)
	script string
	cause  smtpserver.Cause
}{
	"ReplyAuthRequired":     {nil, hello + "C: MAIL FROM:<a@example.com>\nM: 530", smtpserver.CauseAuthRequired},
	"ReplyAuthFailed":       {nil, hello + "C: AUTH PLAIN " + plain(testUser, "x") + "\nM: 535", causeWrongPassword},
	"ReplyAuthCancelled":    {nil, hello + "C: AUTH LOGIN\nM: 334\nC: *\nM: 501 5.7.0", smtpserver.CauseAuthMalformed},
	"ReplyAuthMalformed":    {nil, hello + "C: AUTH PLAIN !\nM: 501 5.5.2", smtpserver.CauseAuthMalformed},
	"ReplyAuthTooLong":      {nil, hello + "C: AUTH PLAIN\nM: 334\nC: " + strings.Repeat("A", 13_000) + "\nM: 500 5.5.6", smtpserver.CauseAuthMalformed},
	"ReplyAuthMechanism":    {nil, hello + "C: AUTH CRAM-MD5\nM: 504", smtpserver.CauseAuthMechanism},
	"ReplyAuthDone":         {nil, "LOGIN\nC: AUTH LOGIN\nM: 503", smtpserver.CauseBadSequence},
	"ReplyAuthInMail":       {trustAll, hello + "C: MAIL FROM:<a@example.com>\nM: 250\nC: AUTH LOGIN\nM: 503", smtpserver.CauseBadSequence},
	"ReplySenderRefused":    {nil, "LOGIN\nC: MAIL FROM:<a@other.example>\nM: 550", causeSender},
	"ReplyBadSequence":      {nil, "LOGIN\nC: RCPT TO:<a@example.com>\nM: 503", smtpserver.CauseBadSequence},
	"ReplyNestedMail":       {nil, "LOGIN\n" + mailA + "C: MAIL FROM:<a@example.com>\nM: 503", smtpserver.CauseBadSequence},
	"ReplyNoRecipients":     {nil, "LOGIN\n" + mailA + "C: DATA\nM: 503", smtpserver.CauseBadSequence},
	"ReplyUnknownCommand":   {nil, hello + "C: FOO\nM: 500", smtpserver.CauseUnknownCommand},
	"ReplyNotImplemented":   {nil, hello + "C: EXPN x\nM: 502", smtpserver.CauseUnknownCommand},
	"ReplyLineTooLong":      {nil, hello + "C: " + strings.Repeat("x", 3000) + "\nM: 500 5.5.6", smtpserver.CauseTooLong},
	"ReplySyntax":           {nil, "LOGIN\nC: MAIL FROM:<a@example.com> SIZE=x\nM: 501 5.5.4", smtpserver.CauseSyntax},
	"ReplyBadRecipient":     {nil, "LOGIN\n" + mailA + "C: RCPT TO:<b>\nM: 501 5.1.3", smtpserver.CauseSyntax},
	"ReplyBadSender":        {nil, "LOGIN\nC: MAIL FROM:<b>\nM: 501 5.1.7", smtpserver.CauseSyntax},
	"ReplyControlChars":     {nil, hello + "Q: \"NOOP \\x01\\r\\n\"\nM: 501", smtpserver.CauseSyntax},
	"ReplyUnknownParameter": {nil, "LOGIN\nC: MAIL FROM:<a@example.com> X=1\nM: 555", smtpserver.CauseParameter},
	"ReplyNonASCII":         {nil, "LOGIN\nC: MAIL FROM:<\u00fc@example.com>\nM: 553", smtpserver.CauseSyntax},
	"ReplyTooBig":           {nil, "LOGIN\nC: MAIL FROM:<a@example.com> SIZE=9999999\nM: 552", smtpserver.CauseTooBig},
	"ReplyTooManyRcpts": {
		func(p *policy) { p.MaxRecipients = 1 },
		"LOGIN\n" + mailA + "C: RCPT TO:<b@example.org>\nM: 250\nC: RCPT TO:<c@example.org>\nM: 452", smtpserver.CauseTooManyRecipients,
	},
	"ReplyBareNewline":   {nil, "LOGIN\n" + mailA + "C: RCPT TO:<b@example.org>\nM: 250\nC: DATA\nM: 354\nQ: \"a\\nb\\r\\n.\\r\\n\"\nM: 554", smtpserver.CauseBareNewline},
	"ReplyNUL":           {nil, "LOGIN\n" + mailA + "C: RCPT TO:<b@example.org>\nM: 250\nC: DATA\nM: 354\nQ: \"a\\x00b\\r\\n.\\r\\n\"\nM: 554", smtpserver.CauseContent},
	"ReplyLineOverflow":  {func(p *policy) { p.MaxSize = 1 << 22 }, "LOGIN\n" + mailA + "C: RCPT TO:<b@example.org>\nM: 250\nC: DATA\nM: 354\nC: " + strings.Repeat("a", 1<<20+1) + "\nC: .\nM: 554", smtpserver.CauseContent},
	"ReplyBareLF":        {nil, hello + "Q: \"NOOP\\n\"\nM: 500 5.5.2", smtpserver.CauseBareLF},
	"ReplyHTTP":          {nil, "M: 220\nC: GET / HTTP/1.1\nM: 421", smtpserver.CauseHTTP},
	"ReplyProxyHeader":   {nil, "M: 220\nC: PROXY UNKNOWN\nM: 421", smtpserver.CauseProxyHeader},
	"ReplyEarlyTalker":   {trustAll, "M: 220\nQ: \"EHLO c\\r\\nNOOP\\r\\n\"\nM: 421", smtpserver.CauseEarlyTalker},
	"ReplyTooManyErrors": {nil, hello + strings.Repeat("C: FOO\nM: 500\n", maxErrorsEarly) + "M: 421", smtpserver.CauseTooManyErrors},
	"ReplyPaused":        {trustPaused, hello + "C: MAIL FROM:<a@example.com>\nM: 451", causePaused},
}

// saidElsewhere has the others, with where they are told of.
var saidElsewhere = map[string]string{
	"ReplyTooManyConns": "TestRefusedAtTheDoor", "ReplyBanned": "docs.TestDevicesMistakes", "ReplyLoginGone": "TestLoginGone",
	"ReplyIdleTimeout": "docs.TestDevicesMistakes", "ReplyTLSRequired": "TestRefusalLines", "ReplyAuthOverloaded": "TestSourceAway",
	"ReplyTLSActive": "TestMatrix", "ReplySessionEnded": "the operator's doing", "ReplyShuttingDown": "the operator's doing",
	// With a recipient the line of the message has them.
	"ReplyReauthRequired": inMessageLine, "ReplyTokenUnavailable": inMessageLine, "ReplyUpstreamAuth": inMessageLine, "ReplyOneRecipient": inMessageLine,
	"ReplyNoConnection": inMessageLine, "ReplyLimitsNotStored": inMessageLine, "ReplyLimitsElsewhere": inMessageLine, "ReplyUpstreamDown": inMessageLine,
	"ReplyUpstreamLost": inMessageLine, "ReplyDeliveryUnknown": inMessageLine, "ReplyUpstreamProtocol": inMessageLine, "ReplyNo8BITMIME": inMessageLine,
	"ReplyNoSMTPUTF8": inMessageLine, "ReplyNoUpstream": inMessageLine, "ReplyInternal": inMessageLine, "ReplySpoolFull": inMessageLine, "ReplySpoolFailed": inMessageLine,
}

const (
	inMessageLine = "message"
	hello         = "M: 220\nC: EHLO c\nM: 250\n"
	mailA         = "C: MAIL FROM:<a@example.com>\nM: 250\n"
)

func trustAll(p *policy) {
	p.trust = []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), account: testUser}}
}

func trustPaused(p *policy) {
	trustAll(p)
	p.trust[0].account = "paused@example.com"
}

// TestEveryReplyHasItsRefusal holds that no negative reply of ours leaves a client refused
// and its operator without a cause and a remedy.
func TestEveryReplyHasItsRefusal(t *testing.T) {
	src, err := os.ReadFile("../relay/table.go")
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`(?m)^\s(Reply\w+) += own\(([45]\d\d), (\d), (\d), (\d+),`).FindAllStringSubmatch(string(src), -1)
	if len(known) < 50 {
		t.Fatalf("%d replies", len(known))
	}
	for _, m := range known {
		name, code := m[1], m[2]+" "+m[3]+"."+m[4]+"."+m[5]
		tc, ok := refusedWith[name]
		if !ok && saidElsewhere[name] == "" {
			t.Errorf("%s: where is it told of?", name)
		}
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := startServer(t, tc.change)
			r := testRecord("paused@example.com")
			r.Paused = true
			narrow := testRecord(testUser)
			narrow.Senders = []string{"*@example.com", "\u00fc@example.com"}
			s.source.index.Set(mustCompile(t, r))
			s.source.index.Set(mustCompile(t, narrow))
			c := dial(t, s.addr)
			c.play(tc.script)
			_ = c.nc.Close()
			<-s.point.whenEmpty()
			for _, f := range s.gen.refusals.List() {
				if f.Cause == string(tc.cause) && strings.HasPrefix(f.Reply, code) && f.Remedy != "" && f.Session != "" {
					return
				}
			}
			t.Errorf("want %s for %s: %+v", tc.cause, code, s.gen.refusals.List())
		})
	}
}
