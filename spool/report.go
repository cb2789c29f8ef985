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
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/dsn"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// eventFailed is emitted for each message that could not be delivered to some
// of its recipients.
const eventFailed = "smtp_spool_failed"

// emitter is the part of Caddy's events app that is used here.
type emitter interface {
	Emit(ctx caddy.Context, eventName string, data map[string]any) caddy.Event
}

// reportOwed says what another process has left to say, or this one could not say
// before. It is written before it is tried, as an attempt is: what kills the process
// is not tried for ever.
func (e *engine) reportOwed(rec *record.File, t *Transport, m *message, log *zap.Logger) {
	if err := e.note(rec, m, &record.Line{At: time.Now(), Event: record.EventReport}); err != nil {
		log.Error("no report of a failed message could be made yet: its file cannot be written", zap.Error(err))
		e.mu.Lock()
		m.reportAt = time.Now().Add(reportPause)
		e.mu.Unlock()
		return
	}
	e.report(rec, t, m, log)
	e.mu.Lock()
	open := m.open > 0
	e.mu.Unlock()
	if !open {
		return
	}
	// It could not be said, and the process lives.
	l := &record.Line{At: time.Now(), Event: record.EventReported}
	if e.note(rec, m, l) != nil {
		e.mu.Lock()
		m.apply(l)
		e.mu.Unlock()
	}
}

// report says what is owed of a message: that it could not be delivered to some of
// its recipients. What cannot be said now stays owed.
func (e *engine) report(rec *record.File, t *Transport, m *message, log *zap.Logger) {
	now := time.Now()
	e.mu.Lock()
	failed := slices.Sorted(maps.Keys(m.owed))
	finished := m.finished()
	e.mu.Unlock()
	made, err := t.report(e, rec, m, failed, log)
	l := &record.Line{At: now, Event: record.EventReported, Reported: failed}
	switch {
	case err != nil:
		log.Error("no report of a failed message could be made yet", zap.Error(err))
		e.mu.Lock()
		m.reportAt, m.told = now.Add(reportPause), true
		e.mu.Unlock()
		return
	case !made && finished:
		// Nothing was written, and the file goes at once.
	default:
		if err = e.note(rec, m, l); err == nil {
			return
		}
		log.Error("that a failed message was reported cannot be written: a restart may report it again", zap.Error(err))
	}
	e.mu.Lock()
	m.apply(l)
	e.mu.Unlock()
}

// report emits the event of a failed message, and keeps the mail that tells of it
// (RFC 3464), which goes through the same upstream; made reports whether there is
// one. There is no mail about a report, and none about a message with the null
// sender, which must never be answered (RFC 5321 section 4.5.5).
func (t *Transport) report(e *engine, rec *record.File, m *message, failed []int, log *zap.Logger) (made bool, err error) {
	e.mu.Lock()
	replies := make(map[int]string, len(failed))
	for _, i := range failed {
		if replies[i] = m.replies[i]; replies[i] == "" {
			replies[i] = m.reply
		}
	}
	attempts, told, owner := m.attempts, m.told, m.mailbox
	e.mu.Unlock()
	if t.events != nil && !told {
		t.events.Emit(t.ctx, eventFailed, printable.Event(map[string]any{
			"upstream": t.name, "id": m.env.ID, "account": m.env.Account, "recipients": len(failed),
			"reply": replies[failed[0]], "created": m.env.Created,
		}))
	}
	to, mailbox := t.reportsTo(m)
	named := dsn.Wanted(m.env.Rcpts, failed)
	switch {
	case m.env.Report:
		e.ledger.Untold(m.env.Account, m.env.Rcpts[0].To, "the report to <"+m.env.Rcpts[0].To+"> could not be delivered: "+replies[failed[0]])
		return false, nil
	case len(named) == 0:
		return false, nil // its client wants to hear nothing
	case m.env.From == "" || to == "":
		e.ledger.Untold(m.env.Account, "", "message "+m.env.ID+" has the null sender: "+replies[failed[0]])
		return false, nil
	}
	now := time.Now()
	env := &record.Envelope{
		ID: store.NewID(now), Account: m.env.Account, Mailbox: owner, Created: now, Hostname: t.hostname(), Report: true, First: now, Fallback: mailbox, Clock: e.store.Clock(),
		Rcpts: []relay.Recipient{{To: to, Opts: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}}},
	}
	n := &dsn.Notification{
		ID: env.ID, Hostname: env.Hostname, From: mailbox, To: to, Created: now,
		Message: dsn.Message{
			ID: m.env.ID, Account: m.env.Account, EnvelopeID: m.env.Opts.EnvelopeID, Created: m.env.Created, Attempts: attempts,
			Header: dsn.Header(rec.Body("")),
		},
	}
	for _, i := range named {
		n.Failed = append(n.Failed, dsn.Failed{Recipient: m.env.Rcpts[i], Reply: replies[i]})
	}
	if n.UTF8() {
		env.Opts = smtp.MailOptions{UTF8: true, Body: smtp.Body8BitMIME}
	}
	k := store.NewKeeper(e.store, env, bytes.NewReader(n.Bytes()))
	defer k.Drop()
	if err := k.Rest(); err != nil {
		return false, err
	}
	if err := k.Commit(); err != nil {
		return false, err
	}
	e.take(env, k.Size)
	log.Info("report of a failed message spooled", zap.String("report", env.ID))
	return true, nil
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
