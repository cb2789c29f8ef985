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

// Package dsn writes delivery status notifications (RFC 3464) in a multipart/report
// (RFC 6522): what an account hears of mail that the spool gave up. It knows no spool
// and keeps nothing, so that nothing outlives a reload; it imports relay, for what a
// recipient is. Text of others never ends a line of ours.
package dsn

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// maxHeader bounds what a notification repeats of the message.
const maxHeader = 16 << 10

// Notification says that a message could not be delivered to some recipients.
type Notification struct {
	// ID is the notification's own, and its Message-ID with Hostname.
	ID, Hostname string
	From, To     string
	Created      time.Time

	Message Message
	Failed  []Failed
}

// Message is the message that was given up.
type Message struct {
	ID, Account string
	// EnvelopeID is the client's ENVID (RFC 3461 section 4.4); empty without one.
	EnvelopeID string
	Created    time.Time
	Attempts   int
	// Header is repeated; Header reads it.
	Header []byte
}

// Failed is a recipient, and what the provider said last; empty if it said nothing.
type Failed struct {
	relay.Recipient
	Reply string
}

// ASCII reports whether a text has no other characters.
func ASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Header returns the message's header, as far as it is bounded.
func Header(r io.Reader) []byte {
	var out []byte
	br := bufio.NewReaderSize(io.LimitReader(r, maxHeader), 4<<10)
	for {
		line, err := br.ReadSlice('\n')
		if len(bytes.TrimRight(line, "\r\n")) == 0 || err != nil {
			return out
		}
		out = append(out, line...)
	}
}

// Bytes returns the notification as a message.
func (n *Notification) Bytes() []byte {
	var b bytes.Buffer
	boundary := "=_" + n.ID
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	date := n.Created.Format("Mon, 2 Jan 2006 15:04:05 -0700")
	line("From: Mail Delivery System <%s>", n.From)
	line("To: <%s>", n.To)
	line("Subject: Undelivered mail: message %s", n.Message.ID)
	line("Date: %s", date)
	line("Message-ID: <%s@%s>", n.ID, n.Hostname)
	line("Auto-Submitted: auto-replied") // RFC 3834 section 5
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=utf-8")
	line("Content-Transfer-Encoding: 8bit")
	line("")
	line("A message that account %s gave to %s could not be delivered", oneLine(n.Message.Account), n.Hostname)
	line("to the recipients below. It is not tried again.")
	line("")
	line("Message: %s, of %s", n.Message.ID, n.Message.Created.Format(time.RFC1123Z))
	line("Attempts: %d", n.Message.Attempts)
	for _, f := range n.Failed {
		line("")
		line("<%s>", oneLine(f.To))
		line("    %s", oneLine(f.Reply))
	}
	line("")
	line("--%s", boundary)
	line("Content-Type: message/delivery-status")
	line("")
	line("Reporting-MTA: dns; %s", n.Hostname)
	if id := n.Message.EnvelopeID; id != "" {
		line("Original-Envelope-Id: %s", oneLine(id))
	}
	line("Arrival-Date: %s", n.Message.Created.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	for _, f := range n.Failed {
		line("")
		if o := f.Opts; o.OriginalRecipient != "" {
			line("Original-Recipient: %s; %s", o.OriginalRecipientType, oneLine(o.OriginalRecipient))
		}
		kind := "rfc822"
		if !ASCII(f.To) {
			kind = "utf-8" // RFC 6533
		}
		line("Final-Recipient: %s; %s", kind, oneLine(f.To))
		line("Action: failed")
		line("Status: %s", statusOf(f.Reply))
		if r := oneLine(f.Reply); r != "" {
			line("Diagnostic-Code: smtp; %s", r)
		}
		line("Last-Attempt-Date: %s", date)
	}
	line("")
	line("--%s", boundary)
	line("Content-Type: text/rfc822-headers")
	if !ASCII(string(n.Message.Header)) {
		line("Content-Transfer-Encoding: 8bit")
	}
	line("")
	b.Write(bytes.ReplaceAll(bytes.ReplaceAll(n.Message.Header, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
	line("")
	line("--%s--", boundary)
	return b.Bytes()
}

// statusCode is an enhanced status code behind a reply's code.
var statusCode = regexp.MustCompile(`^[0-9]{3}[ -]([45]\.[0-9]{1,3}\.[0-9]{1,3})\b`)

// statusOf is the status field of a recipient: the provider's enhanced code; a
// delivery that was given up is a persistent transient failure (RFC 3463 section
// 3.5: X.4.7, delivery time expired).
func statusOf(reply string) string {
	if c := statusCode.FindStringSubmatch(reply); c != nil {
		return c[1]
	}
	if strings.HasPrefix(reply, "5") {
		return "5.0.0"
	}
	return "4.4.7"
}

// oneLine keeps what others said from ending a line of ours.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
