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
	"context"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

func TestHundredMessagesOneConnection(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p))
	a := testAccount("a@a.test")
	for range 100 {
		if err := deliver(u, a, "Subject: x\r\n\r\nhello\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.dialed(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := len(p.got()); n != 100 {
		t.Errorf("%d messages, want 100", n)
	}
	if n := p.count("NOOP"); n != 0 {
		t.Errorf("%d NOOPs", n)
	}
}

func TestWire(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p))
	tx, err := u.begin(context.Background(), testAccount("a@a.test"), "from@a.test", &smtp.MailOptions{
		Size: 10, Body: smtp.Body8BitMIME, UTF8: true, Return: smtp.DSNReturnHeaders, EnvelopeID: "a+b",
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := tx.RcptBatch(context.Background(), []relay.Recipient{
		{To: "one@b.test", Opts: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}}},
		{To: "tw o@b.test"},
		{To: `"th ree"@b.test`, Opts: smtp.RcptOptions{OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "x=y@b.test"}},
	})
	if errs[0] != nil || errs[1] != error(relay.ReplyBadRecipient) || errs[2] != nil {
		t.Fatal(errs)
	}
	reply, err := tx.Data(context.Background(), strings.NewReader("x"))
	if err != nil || reply.Lines[0] != "2.0.0 queued as 1" {
		t.Fatal(reply, err)
	}
	want := []string{
		"<connect>", "EHLO gateway.test", "AUTH PLAIN AGFAYS50ZXN0AG1hZGUtdXA=",
		"MAIL FROM:<from@a.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb",
		"RCPT TO:<one@b.test> NOTIFY=FAILURE,DELAY",
		`RCPT TO:<"th ree"@b.test> ORCPT=rfc822;x+3Dy@b.test`,
		"BDAT 1 LAST", "<body>", "<end>", "RSET",
	}
	if got := strings.Join(p.commands(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}
