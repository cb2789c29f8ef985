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

package dsn

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// TestReportIsParsed reads a report with the standard library's parsers: three
// parts (RFC 6522), and a delivery status of one group for the message and one
// for each recipient (RFC 3464 section 2), whatever the provider's words were.
func TestReportIsParsed(t *testing.T) {
	now := time.Now()
	n := &Notification{
		ID: "1abc-2", Hostname: "mail.example.com", From: "scanner@example.com", To: "it@example.com", Created: now,
		Message: Message{
			ID: "1abc-1", Account: "scanner@example.com", EnvelopeID: "env-1", Created: now.Add(-time.Hour), Attempts: 3,
			Header: []byte("Subject: scan\r\nX-Odd: \xff\n folded\r\n"),
		},
		Failed: []Failed{
			{
				relay.Recipient{To: "one@example.org", Opts: smtp.RcptOptions{OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "first@example.org"}},
				"550 5.1.1 No such user\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; else@example.org",
			},
			{relay.Recipient{To: "two@example.org"}, "451 4.7.1 Busy"},
		},
	}

	msg, err := mail.ReadMessage(bytes.NewReader(n.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	if to, err := msg.Header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != "it@example.com" {
		t.Errorf("To: %v %v", to, err)
	}
	if _, err := msg.Header.Date(); err != nil {
		t.Error(err)
	}
	var kinds []string
	var parts []string
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // what the reader returns
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		kinds, parts = append(kinds, kind), append(parts, string(b))
	}
	if len(kinds) != 3 || kinds[0] != "text/plain" || kinds[1] != "message/delivery-status" || kinds[2] != "text/rfc822-headers" {
		t.Fatalf("parts %v", kinds)
	}
	groups := textproto.NewReader(bufio.NewReader(bytes.NewReader([]byte(parts[1] + "\r\n\r\n"))))
	for i, want := range []map[string]string{
		{"Reporting-Mta": "dns; mail.example.com", "Original-Envelope-Id": "env-1", "Arrival-Date": ""},
		{"Final-Recipient": "rfc822; one@example.org", "Original-Recipient": "RFC822; first@example.org", "Action": "failed", "Status": "5.1.1"},
		{"Final-Recipient": "rfc822; two@example.org", "Action": "failed", "Status": "4.7.1", "Diagnostic-Code": "smtp; 451 4.7.1 Busy"},
	} {
		h, err := groups.ReadMIMEHeader()
		if err != nil {
			t.Fatalf("group %d: %v", i, err)
		}
		for name, value := range want {
			if got := h.Values(name); len(got) != 1 || value != "" && got[0] != value {
				t.Errorf("group %d: %s is %q, want %q", i, name, got, value)
			}
		}
	}
	if h, err := groups.ReadMIMEHeader(); err == nil && len(h) > 0 {
		t.Errorf("another group: %v", h)
	}
	if h, err := mail.ReadMessage(bytes.NewReader([]byte(parts[2] + "\r\n\r\n"))); err != nil || h.Header.Get("Subject") != "scan" {
		t.Errorf("the message's header: %v", err)
	}
}
