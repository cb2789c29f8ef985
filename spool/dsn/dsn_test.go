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
	"slices"
	"strings"
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
	kinds, parts := partsOf(t, msg.Body, params["boundary"])
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

// partsOf reads the parts of a notification, decoded.
func partsOf(t *testing.T, body io.Reader, boundary string) (kinds, parts []string) {
	t.Helper()
	for r := multipart.NewReader(body, boundary); ; {
		p, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // what the reader returns
			return kinds, parts
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
}

// TestInternationalized holds that a notification is ASCII whatever it tells, with
// lines that any provider takes, unless its own addresses are not (RFC 6533).
func TestInternationalized(t *testing.T) {
	long := "550 5.7.1 " + strings.Repeat("gro\u00df ", 120) + "Ende"
	for to, ascii := range map[string]bool{"it@example.com": true, "it@b\u00fccher.example": false} {
		n := &Notification{
			ID: "1abc-2", Hostname: "mail.example.com", From: "scanner@example.com", To: to, Created: time.Now(),
			Message: Message{ID: "1abc-1", Account: "j\u00f6rg", Created: time.Now(), Header: []byte("Subject: gr\u00fc\u00dfe\r\n")},
			Failed: []Failed{{relay.Recipient{To: "j\u00f6rg+x@example.org", Opts: smtp.RcptOptions{
				OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "j\u00f6rg=y@example.org",
			}}, long}},
		}
		if n.UTF8() == ascii {
			t.Errorf("to %s: needs SMTPUTF8: %v", to, n.UTF8())
		}
		b := n.Bytes()
		if ASCII(string(b)) != ascii {
			t.Errorf("to %s: ASCII: %v", to, !ascii)
		}
		for line := range bytes.Lines(b) {
			if len(line) > 1000 || !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Errorf("to %s: a line of %d octets, ending in %q", to, len(line), line[len(line)-2:])
			}
		}
		msg, err := mail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		kinds, parts := partsOf(t, msg.Body, params["boundary"])
		want := map[bool][]string{
			true: {
				"text/plain", "message/delivery-status", "text/rfc822-headers",
				"Final-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@example.org\r\n", "Original-Recipient: UTF-8; j\\x{F6}rg\\x{3D}y@example.org\r\n", "gro\\x{DF} gro",
			},
			false: {
				"text/plain", "message/global-delivery-status", "message/global-headers",
				"Final-Recipient: utf-8; j\u00f6rg+x@example.org\r\n", "Original-Recipient: UTF-8; j\u00f6rg=y@example.org\r\n", "gro\u00df gro",
			},
		}[ascii]
		if !slices.Equal(kinds, want[:3]) {
			t.Fatalf("to %s: parts %v", to, kinds)
		}
		for _, text := range want[3:] {
			if !strings.Contains(parts[1], text) {
				t.Errorf("to %s: the status lacks %q:\n%s", to, text, parts[1])
			}
		}
		if !strings.Contains(parts[0], "<j\u00f6rg+x@example.org>\r\n    "+long+"\r\n") || !strings.Contains(parts[0], "account j\u00f6rg gave") {
			t.Errorf("to %s: the explanation is\n%s", to, parts[0])
		}
		if !strings.HasPrefix(parts[2], "Subject: gr\u00fc\u00dfe\r\n") {
			t.Errorf("to %s: the header is %q", to, parts[2])
		}
	}
}

// TestHeader holds that a header is repeated within bounds, and that a line of it that is
// longer than any should be hides nothing behind it.
func TestHeader(t *testing.T) {
	long := "X-Long: " + strings.Repeat("x", 20_000) + "\r\n"
	for name, tc := range map[string]struct{ in, want string }{
		"plain":         {"Subject: a\r\nTo: b\r\n\r\nbody\r\n", "Subject: a\r\nTo: b\r\n"},
		"no body":       {"Subject: a\r\n", "Subject: a\r\n"},
		"no end":        {"Subject: a\r\nTo: b", "Subject: a\r\n"},
		"long line":     {long + "Subject: a\r\n" + long + "To: b\r\n\r\nbody\r\n", "Subject: a\r\nTo: b\r\n"},
		"long line cut": {"Subject: a\r\n" + strings.Repeat("x", 1<<20), "Subject: a\r\n"},
		"exactly full":  {"Subject: " + strings.Repeat("x", 4096-9) + "\r\nTo: b\r\n\r\n", "To: b\r\n"},
		"empty":         {"\r\nbody\r\n", ""},
	} {
		if got := string(Header(strings.NewReader(tc.in))); got != tc.want {
			t.Errorf("%s: %.80q, want %q", name, got, tc.want)
		}
	}
	many := strings.Repeat("Received: from a by b; Fri, 27 Nov 2026 12:00:00 +0000\r\n", 100_000)
	if got := Header(strings.NewReader(many)); len(got) < maxHeader || len(got) > maxHeader+maxLine {
		t.Errorf("%d octets of a header of %d", len(got), len(many))
	}
}
