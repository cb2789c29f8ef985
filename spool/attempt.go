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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/delivery"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// poisonous is how many attempts in a row a process may die of.
const poisonous = 3

// notePause is the time until a file that cannot be written is tried again, and
// reportPause until a report that could not be made is.
const (
	notePause   = time.Minute
	reportPause = 5 * time.Minute
)

// freshPause is how long an account's kept mail stands back when fresh mail of it
// waits for the provider.
const freshPause = 2 * time.Second

// freshWaits reports whether messages of clients wait for the account's limits or
// connections.
func freshWaits(next relay.Transport, a *accounts.Account) bool {
	r, ok := next.(relay.Reporter)
	return ok && r.AccountStatus(a).Waiting > 0
}

// attempt tries to deliver one message, and notes what came of it. The time it
// returns is when the account may be tried again; zero if it has no trouble.
func (e *engine) attempt(ctx context.Context, t *Transport, m *message) (until time.Time) {
	log := t.logger.With(zap.String("id", m.env.ID), zap.String("account", m.env.Account))
	rec, err := e.openJournal(m, log)
	if err != nil {
		return e.unreadable(m, err, log)
	}
	until = e.advance(ctx, t, m, rec, log)
	// First closed, then removed: not every system removes what is open.
	_ = rec.Close()
	e.dropOver(m, log)
	return until
}

// advance does what a message is due for: what is owed is said first.
func (e *engine) advance(ctx context.Context, t *Transport, m *message, rec *record.File, log *zap.Logger) (until time.Time) {
	now := time.Now()
	if why := e.disowned(t, m); why != "" {
		e.hold(rec, m, why, log)
		return time.Time{}
	}
	e.mu.Lock()
	owes, early := len(m.owed) > 0 && !m.reportAt.After(now), m.finished() || m.next.After(now)
	e.mu.Unlock()
	if owes {
		e.reportOwed(rec, t, m, log)
	}
	if early {
		return time.Time{} // it was due for the report alone
	}
	expired := e.expired(m, now)
	acct, next, handOver, why := e.sender(t, m)
	e.mu.Lock()
	asked := m.asked
	e.mu.Unlock()
	tooEarly := !handOver && asked.After(now)
	switch {
	case expired && (why != "" || tooEarly):
		// There is nothing to try, and it cannot wait.
		e.giveUp(rec, t, m, log)
		return time.Time{}
	case why != "":
		// No attempt, and no line: there is nothing to note.
		return e.postpone(m, now.Add(delivery.Delay(1, 0)), why)
	case tooEarly:
		e.postpone(m, asked, "")
		return time.Time{}
	case !handOver && !expired && freshWaits(next, acct):
		return e.postpone(m, now.Add(freshPause), "")
	}
	peer := ""
	if handOver {
		peer = t.Peer
	} else {
		ctx = relay.Behind(ctx)
	}
	// Written before it is tried: what kills the process is not tried for ever.
	if err := e.note(rec, m, &record.Line{At: now, Event: record.EventTry, Next: now.Add(delivery.Delay(m.tries()+1, 0)), Peer: peer}); err != nil {
		log.Error("spooled message not tried: its file cannot be written", zap.Error(err))
		return e.postpone(m, now.Add(notePause), "")
	}
	res := delivery.Deliver(ctx, next, acct, m.env, m.settled, rec)
	if handOver {
		res.Peer = peer
		res.HandedOver()
	}
	if ctx.Err() != nil && res.Temporary() {
		res.Interrupted = true
	}
	return e.conclude(rec, t, m, res, log)
}

// conclude notes what came of an attempt, and removes a message that is settled.
func (e *engine) conclude(rec *record.File, t *Transport, m *message, d delivery.Result, log *zap.Logger) (until time.Time) {
	now := time.Now()
	if d.Damaged != nil {
		e.hold(rec, m, d.Damaged.Error(), log)
		return time.Time{}
	}
	var asked time.Duration
	words := ""
	if d.Reply != nil {
		words = record.Words(d.Reply)
		asked = d.Reply.After
	}
	l := &record.Line{At: now, Event: record.EventResult, Sent: d.Sent, Refused: d.Refused, Owed: d.Refused, Replies: d.Replies, Peer: d.Peer}
	for i, r := range l.Replies {
		if r == words {
			l.Replies[i] = "" // the same to many recipients is noted once
		}
	}
	l.Replies[-1] = words
	if asked > 0 {
		l.Asked = now.Add(asked)
	}
	if len(d.Sent) > 0 {
		l.Event = record.EventSent
	}
	e.mu.Lock()
	attempts, tries := m.attempts, m.tries()
	e.mu.Unlock()
	l.Next = now.Add(delivery.Delay(tries, asked))
	switch {
	case d.Interrupted:
		l.Next = now
	case d.Peer != "":
		l.Next = now.Add(handOverPause)
	}
	err := e.note(rec, m, l)
	e.mu.Lock()
	finished := m.finished()
	e.mu.Unlock()
	log.Info("spooled message tried", zap.Int("attempt", attempts), zap.Int("sent", len(d.Sent)), zap.Int("refused", len(d.Refused)),
		zap.Int("recipients", len(m.env.Rcpts)), zap.Duration("duration", d.Took), zap.String("reply", words), zap.String("peer", d.Peer), zap.Bool("settled", finished))
	if err != nil {
		return e.unnoted(rec, t, m, l, err, log)
	}
	switch {
	case len(d.Sent) > 0 && d.Peer != "":
		e.count("handed_over")
	case len(d.Sent) > 0:
		e.count("sent")
		if m.env.Report {
			e.ledger.Told(m.env.Account)
		}
	case len(d.Refused) > 0:
		e.count("refused")
	default:
		e.count("deferred")
	}
	if len(d.Refused) > 0 {
		e.report(rec, t, m, log)
	}
	if !finished && !d.Interrupted && e.expired(m, now) {
		e.giveUp(rec, t, m, log)
		return time.Time{}
	}
	if !finished && (d.Account || d.Peer != "") && !d.Interrupted {
		return l.Next
	}
	return time.Time{}
}

// giveUp settles what is left of a message that is too old.
func (e *engine) giveUp(rec *record.File, t *Transport, m *message, log *zap.Logger) {
	now := time.Now()
	e.mu.Lock()
	left, last := m.left(), m.reply
	e.mu.Unlock()
	if err := e.note(rec, m, &record.Line{At: now, Event: record.EventResult, Refused: left, Owed: left}); err != nil {
		// Not without the line: what is not noted would be reported again and again.
		log.Error("spooled message not given up yet: its file cannot be written", zap.Error(err))
		e.postpone(m, now.Add(notePause), "")
		return
	}
	log.Error("spooled message given up", zap.Time("created", m.env.Created), zap.Int("recipients", len(left)), zap.String("reply", last))
	e.count("given_up")
	if !m.env.Report { // that it did not arrive is said by itself
		e.ledger.GaveUp(m.env.Account, now)
	}
	e.report(rec, t, m, log)
}

// note writes a line and then takes it into account.
func (e *engine) note(rec *record.File, m *message, l *record.Line) error {
	if err := e.store.Illness(); err != nil {
		return store.ErrIll
	}
	if l.Clock = e.store.Clock(); l.Clock != (record.Reading{}) {
		l.Age = time.Since(m.since).Milliseconds()
	}
	if err := rec.Append(l); err != nil {
		if disk.IsFull(err) {
			return err
		}
		return e.store.Fail(err)
	}
	// No failure of a sync is to be believed a second time, a full disk's neither:
	// what was to be written may be gone from memory as well.
	if err := rec.Sync(); err != nil {
		return e.store.Fail(fmt.Errorf("syncing a journal: %w", err))
	}
	e.mu.Lock()
	m.apply(l)
	m.lines = rec.Lines()
	e.trim(m, l.At)
	e.mu.Unlock()
	return nil
}

// unnoted is what follows when the result of an attempt cannot be written. The
// provider may have the message and the disk does not say so: this process does
// not send it again, the next one may.
func (e *engine) unnoted(rec *record.File, t *Transport, m *message, l *record.Line, err error, log *zap.Logger) time.Time {
	e.mu.Lock()
	m.apply(l)
	e.trim(m, l.At)
	finished, ill := m.finished(), e.store.Illness() != nil
	switch {
	case finished && ill:
		m.held = "settled, " + illness.WhyUnwritten
	case !finished && len(l.Sent) > 0:
		m.held = "sent in part, " + illness.WhyUnwritten
	}
	e.mu.Unlock()
	if finished && !ill {
		// There is no room for the line. The removal needs none.
		log.Warn("the result of a spooled message could not be written, and it is removed without", zap.Error(err))
		e.report(rec, t, m, log)
		return time.Time{}
	}
	log.Error("the result of a spooled message cannot be written: a restart may send it again", zap.Error(err))
	return time.Now().Add(notePause)
}

// postpone looks at a message again later without an attempt, and so without a
// line. With it waits the account.
func (e *engine) postpone(m *message, next time.Time, why string) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	m.next = next
	e.trim(m, time.Now())
	if why != "" {
		m.reply = why
	}
	return next
}

// isSealed reports whether an error means that the key of a file is not there.
func isSealed(err error) bool {
	return errors.Is(err, seal.ErrNoKeys) || errors.Is(err, seal.ErrOtherKey)
}

// unreadable is what follows when a message's file cannot be opened.
func (e *engine) unreadable(m *message, err error, log *zap.Logger) time.Time {
	e.mu.Lock()
	m.sealed = isSealed(err)
	e.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Error("spooled message forgotten: its file is gone")
		e.store.Release(m.env, m.size)
		e.mu.Lock()
		m.gone = true
		e.mu.Unlock()
		return time.Time{}
	case errors.Is(err, record.ErrDamaged):
		e.hold(nil, m, err.Error(), log)
		return time.Time{}
	}
	// Too many open files, a key or a disk that is not there: it may pass.
	log.Error("spooled message not tried: its file cannot be read", zap.Error(err))
	return e.postpone(m, time.Now().Add(time.Minute), err.Error())
}

// hold keeps a message from being tried. Without a record it is held for as
// long as the process lives.
func (e *engine) hold(rec *record.File, m *message, why string, log *zap.Logger) {
	log.Error("spooled message held", zap.String("reason", why))
	e.count("held")
	if rec != nil && e.note(rec, m, &record.Line{At: time.Now(), Event: record.EventHold, Why: why}) == nil {
		return
	}
	e.mu.Lock()
	m.held = why
	e.mu.Unlock()
}

// dropOver removes a message of which nothing is left to do. A failed disk keeps
// what it has.
func (e *engine) dropOver(m *message, log *zap.Logger) {
	e.mu.Lock()
	over := m.over() && !m.gone && e.store.Illness() == nil
	e.mu.Unlock()
	if over {
		e.drop(m, log)
	}
}

// drop removes a message that is settled, later if the directory is closed to this
// process now.
func (e *engine) drop(m *message, log *zap.Logger) {
	err := e.store.Remove(m.env, m.size)
	if err != nil {
		log.Error("settled message not removed from the spool", zap.Error(err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && e.store.Illness() == nil {
		m.next = time.Now().Add(notePause)
		return
	}
	m.gone = true
}
