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
//
// A notification is ASCII alone, whatever it tells, so that any provider takes it,
// unless its own sender or recipient is not: then it needs SMTPUTF8, and has the
// internationalized parts of RFC 6533.
package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
)

// maxHeader bounds what a notification repeats of the message.
const maxHeader = 16 << 10

// maxLine is the longest line that is written as it is, with its end (RFC 5322 section
// 2.1.1 allows 1000).
const maxLine = 900

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

// UTF8 reports whether the notification can travel with SMTPUTF8 only.
func (n *Notification) UTF8() bool { return !ASCII(n.From) || !ASCII(n.To) }

// ASCII reports whether a text has no other characters.
func ASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Header returns the message's header, as far as it is bounded. Lines beyond all measure
// are left out: what is behind them tells more.
func Header(r io.Reader) []byte {
	var out []byte
	br := bufio.NewReaderSize(io.LimitReader(r, 16*maxHeader), 4<<10)
	for within := false; len(out) < maxHeader; {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			within = true
			continue
		}
		if err != nil || !within && len(bytes.TrimRight(line, "\r\n")) == 0 {
			return out
		}
		if !within {
			out = append(out, line...)
		}
		within = false
	}
	return out
}

// writer writes lines of a header and of parts.
type writer struct{ bytes.Buffer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\r\n", args...) }

// Bytes returns the notification as a message.
func (n *Notification) Bytes() []byte {
	var w writer
	boundary := "=_" + n.ID
	w.line("From: Mail Delivery System <%s>", n.From)
	w.line("To: <%s>", n.To)
	w.line("Subject: Undelivered mail: message %s", n.Message.ID)
	w.line("Date: %s", date(n.Created))
	w.line("Message-ID: <%s@%s>", n.ID, n.Hostname)
	w.line("Auto-Submitted: auto-replied") // RFC 3834 section 5
	w.line("MIME-Version: 1.0")
	w.line("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"", boundary)
	w.line("")
	w.line("--%s", boundary)
	w.text("text/plain; charset=utf-8", n.explanation())
	w.line("--%s", boundary)
	if n.UTF8() {
		w.line("Content-Type: message/global-delivery-status") // RFC 6533 section 4
		w.line("Content-Transfer-Encoding: 8bit")
	} else {
		w.line("Content-Type: message/delivery-status")
	}
	w.line("")
	n.status(&w)
	w.line("")
	w.line("--%s", boundary)
	header := bytes.ReplaceAll(bytes.ReplaceAll(n.Message.Header, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	if n.UTF8() && !ASCII(string(header)) && utf8.Valid(header) {
		w.line("Content-Type: message/global-headers")
		w.line("Content-Transfer-Encoding: 8bit")
		w.line("")
		w.Write(header)
		w.line("")
	} else {
		w.text("text/rfc822-headers", header)
	}
	w.line("--%s--", boundary)
	return w.Bytes()
}

// text writes a part that ends any line in time and has only ASCII: what it says is
// encoded if it does not.
func (w *writer) text(kind string, text []byte) {
	w.line("Content-Type: %s", kind)
	plain := ASCII(string(text))
	for line := range bytes.Lines(text) {
		plain = plain && len(line) <= maxLine
	}
	if plain {
		w.line("")
		w.Write(text)
	} else {
		w.line("Content-Transfer-Encoding: quoted-printable")
		w.line("")
		q := quotedprintable.NewWriter(w)
		_, _ = q.Write(text) // a buffer takes everything
		_ = q.Close()
	}
	w.line("")
}

// explanation is what a human reads.
func (n *Notification) explanation() []byte {
	var w writer
	w.line("A message that account %s gave to %s could not be delivered", printable.Line(n.Message.Account), n.Hostname)
	w.line("to the recipients below. It is not tried again.")
	w.line("")
	w.line("Message: %s, of %s", n.Message.ID, n.Message.Created.Format(time.RFC1123Z))
	w.line("Attempts: %d", n.Message.Attempts)
	for _, f := range n.Failed {
		w.line("")
		w.line("<%s>", printable.Line(f.To))
		w.line("    %s", printable.Line(f.Reply))
	}
	return w.Bytes()
}

// status is what a machine reads.
func (n *Notification) status(w *writer) {
	w.line("Reporting-MTA: dns; %s", n.Hostname)
	if id := n.Message.EnvelopeID; id != "" {
		w.line("Original-Envelope-Id: %s", n.word(id))
	}
	w.line("Arrival-Date: %s", date(n.Message.Created))
	for _, f := range n.Failed {
		w.line("")
		if o := f.Opts; o.OriginalRecipient != "" {
			w.line("Original-Recipient: %s; %s", o.OriginalRecipientType, n.address(o.OriginalRecipient))
		}
		kind := "rfc822"
		if !ASCII(f.To) {
			kind = "utf-8" // RFC 6533 section 3
		}
		w.line("Final-Recipient: %s; %s", kind, n.address(f.To))
		w.line("Action: failed")
		w.line("Status: %s", statusOf(f.Reply))
		if f.Reply != "" {
			w.line("%s", fold("Diagnostic-Code: smtp; "+n.word(f.Reply)))
		}
		w.line("Last-Attempt-Date: %s", date(n.Created))
	}
}

func date(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// address is an address in a field: one with other characters than ASCII has the
// form utf-8-addr-xtext where the notification must not have them (RFC 6533 section
// 3).
func (n *Notification) address(s string) string {
	if ASCII(s) || n.UTF8() {
		return printable.Line(s)
	}
	return escape(s, " +=\\")
}

// word is text of others in a field.
func (n *Notification) word(s string) string {
	if n.UTF8() {
		return printable.Line(s)
	}
	return escape(printable.Line(s), "")
}

// escape writes what is no printable ASCII, and what is named besides, as the
// EmbeddedUnicodeChar of RFC 6533.
func escape(s, besides string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || r > '~' || strings.ContainsRune(besides, r) {
			fmt.Fprintf(&b, "\\x{%02X}", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// fold breaks a field at its blanks where its lines would be too long (RFC 5322
// section 2.2.3).
func fold(s string) string {
	const width = 76
	var b strings.Builder
	column := 0
	for i, word := range strings.Split(s, " ") {
		if i > 0 {
			if column > 0 && column+1+len(word) > width {
				b.WriteString("\r\n")
				column = 0
			}
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
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

// Wanted returns the failed recipients of whom the client wants to hear: a report is
// asked for, or not, for each (RFC 3461 section 4.1).
func Wanted(rcpts []relay.Recipient, failed []int) (named []int) {
	for _, i := range failed {
		notify := rcpts[i].Opts.Notify
		if len(notify) == 0 || slices.Contains(notify, smtp.DSNNotifyFailure) {
			named = append(named, i)
		}
	}
	return named
}
