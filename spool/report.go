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

package spool

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
)

// maxReportedHeader bounds what a report repeats of the message.
const maxReportedHeader = 16 << 10

// eventFailed is emitted for each message that could not be delivered to some
// of its recipients.
const eventFailed = "smtp_spool_failed"

// emitter is the part of Caddy's events app that is used here.
type emitter interface {
	Emit(ctx caddy.Context, eventName string, data map[string]any) caddy.Event
}

// report says that a message could not be delivered to some of its recipients:
// as an event, and by mail (RFC 3464) through the same upstream. There is no
// mail about a report, and none about a message with the null sender, which must
// never be answered (RFC 5321 section 4.5.5).
func (t *Transport) report(e *engine, rec record, m *message, failed []int, log *zap.Logger) {
	e.mu.Lock()
	replies := make(map[int]string, len(failed))
	for _, i := range failed {
		if replies[i] = m.replies[i]; replies[i] == "" {
			replies[i] = m.reply
		}
	}
	e.mu.Unlock()
	if t.events != nil {
		t.events.Emit(t.ctx, eventFailed, printable.Event(map[string]any{
			"upstream": t.name, "id": m.env.ID, "account": m.env.Account, "recipients": len(failed),
			"reply": replies[failed[0]], "created": m.env.Created,
		}))
	}
	to, mailbox := t.reportsTo(m)
	if m.env.Report || m.env.From == "" || to == "" || never(m, failed) {
		return
	}
	now := time.Now()
	env := &envelope{
		ID: newID(now), Account: m.env.Account, Created: now, Hostname: t.hostname(), Report: true, First: now, Fallback: mailbox,
		Rcpts: []relay.Recipient{{To: to, Opts: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}}},
		Opts:  smtp.MailOptions{UTF8: m.env.Opts.UTF8 && !isASCII(to)},
	}
	text := reportText(env, m, failed, replies, headerOf(rec.body("")))
	k := newKeeper(e.store, env, bytes.NewReader(text))
	defer k.drop()
	if err := k.rest(); err == nil {
		err = k.commit()
		if err != nil {
			log.Error("no report of a failed message could be made", zap.Error(err))
			return
		}
	}
	e.take(env, k.size)
	log.Info("report of a failed message spooled", zap.String("report", env.ID))
}

// reportsTo returns who is told of an account's messages, and the sender that the
// account's provider will certainly let pass: a provider of mailboxes refuses
// mail that is from another address in its header.
func (t *Transport) reportsTo(m *message) (to, mailbox string) {
	to, mailbox = t.Reports, m.env.From
	if a, ok := t.account(m.env.Account); ok {
		to = cmp.Or(a.Reports, to)
		if strings.Contains(a.Mailbox, "@") {
			mailbox = a.Mailbox
		}
	}
	return cmp.Or(to, m.env.From), mailbox
}

// never reports whether the client wants no report on any of the recipients
// (RFC 3461 section 4.1).
func never(m *message, failed []int) bool {
	for _, i := range failed {
		notify := m.env.Rcpts[i].Opts.Notify
		if len(notify) == 0 || slices.Contains(notify, smtp.DSNNotifyFailure) {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// headerOf returns the message's header, as far as it is bounded.
func headerOf(r io.Reader) []byte {
	var out []byte
	br := bufio.NewReaderSize(io.LimitReader(r, maxReportedHeader), 4<<10)
	for {
		line, err := br.ReadSlice('\n')
		if len(bytes.TrimRight(line, "\r\n")) == 0 || err != nil {
			return out
		}
		out = append(out, line...)
	}
}

// reportText is a delivery status notification (RFC 3464) in a multipart/report
// (RFC 6522).
func reportText(env *envelope, m *message, failed []int, replies map[int]string, header []byte) []byte {
	var b bytes.Buffer
	boundary := "=_" + env.ID
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	date := env.Created.Format("Mon, 2 Jan 2006 15:04:05 -0700")
	line("From: Mail Delivery System <%s>", env.Fallback)
	line("To: <%s>", env.Rcpts[0].To)
	line("Subject: Undelivered mail: message %s", m.env.ID)
	line("Date: %s", date)
	line("Message-ID: <%s@%s>", env.ID, env.Hostname)
	line("Auto-Submitted: auto-replied") // RFC 3834 section 5
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=utf-8")
	line("Content-Transfer-Encoding: 8bit")
	line("")
	line("A message that account %s gave to %s could not be delivered", oneLine(m.env.Account), env.Hostname)
	line("to the recipients below. It is not tried again.")
	line("")
	line("Message: %s, of %s", m.env.ID, m.env.Created.Format(time.RFC1123Z))
	line("Attempts: %d", m.attempts)
	for _, i := range failed {
		line("")
		line("<%s>", oneLine(m.env.Rcpts[i].To))
		line("    %s", oneLine(replies[i]))
	}
	line("")
	line("--%s", boundary)
	line("Content-Type: message/delivery-status")
	line("")
	line("Reporting-MTA: dns; %s", env.Hostname)
	if id := m.env.Opts.EnvelopeID; id != "" {
		line("Original-Envelope-Id: %s", oneLine(id))
	}
	line("Arrival-Date: %s", m.env.Created.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	for _, i := range failed {
		rcpt := &m.env.Rcpts[i]
		line("")
		if o := rcpt.Opts; o.OriginalRecipient != "" {
			line("Original-Recipient: %s; %s", o.OriginalRecipientType, oneLine(o.OriginalRecipient))
		}
		kind := "rfc822"
		if !isASCII(rcpt.To) {
			kind = "utf-8" // RFC 6533
		}
		line("Final-Recipient: %s; %s", kind, oneLine(rcpt.To))
		line("Action: failed")
		line("Status: %s", statusOf(replies[i]))
		if r := oneLine(replies[i]); r != "" {
			line("Diagnostic-Code: smtp; %s", r)
		}
		line("Last-Attempt-Date: %s", date)
	}
	line("")
	line("--%s", boundary)
	line("Content-Type: text/rfc822-headers")
	if !isASCII(string(header)) {
		line("Content-Transfer-Encoding: 8bit")
	}
	line("")
	b.Write(bytes.ReplaceAll(bytes.ReplaceAll(header, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
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
