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
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

// openJournal opens a message's file for its next line. Where the journal is not as
// this process has written it (damage, an older copy that somebody put back, lines of
// somebody else), what is known is written behind it once more: the next process would
// hold the message, or send it again.
func (e *engine) openJournal(m *message, log *zap.Logger) (*record.File, error) {
	rec, err := e.store.OpenJournal(m.env.ID)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	m.sealed = false
	lines, lost := m.lines, m.lost
	e.mu.Unlock()
	if rec.Lost() == lost && rec.Lines() == lines {
		return rec, nil
	}
	log.Error("the journal of a spooled message is not as it was written: what is known is written again",
		zap.Int64("damaged_octets", rec.Lost()), zap.Int("lines", rec.Lines()), zap.Int("lines_known", lines))
	if rec.Lines() > lines {
		st, err := e.store.Read(m.env.ID)
		if err != nil {
			_ = rec.Close()
			return nil, err
		}
		e.mu.Lock()
		for i := range st.Lines {
			m.apply(&st.Lines[i])
		}
		m.tie(time.Now())
		e.mu.Unlock()
	}
	e.mu.Lock()
	held := m.held
	e.mu.Unlock()
	for _, l := range e.known(m, rec.Lost()) {
		if err = e.note(rec, m, l); err != nil {
			break
		}
	}
	e.mu.Lock()
	m.held = held
	if err == nil {
		m.lost = rec.Lost()
	}
	e.mu.Unlock()
	// On a full disk it may still be deleted.
	if err != nil && !disk.IsFull(err) {
		_ = rec.Close()
		return nil, err
	}
	return rec, nil
}

// known is what is known of a message in lines that say it all, and that earlier
// versions understand.
func (e *engine) known(m *message, lost int64) []*record.Line {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := &record.Line{
		At: time.Now(), Event: record.EventRelease, Next: m.next, Asked: m.asked, Mailbox: m.mailbox, Lost: lost,
		Sent: slices.Sorted(maps.Keys(m.sent)), Owed: slices.Sorted(maps.Keys(m.owed)), Replies: map[int]string{},
	}
	maps.Copy(l.Replies, m.replies)
	for _, i := range slices.Sorted(maps.Keys(m.settled)) {
		if m.sent[i] {
			continue
		}
		l.Refused = append(l.Refused, i)
		if !m.owed[i] {
			l.Reported = append(l.Reported, i)
		}
	}
	l.Replies[-1] = m.reply
	if m.held == "" {
		return []*record.Line{l}
	}
	return []*record.Line{l, {At: l.At, Event: record.EventHold, Why: m.held}}
}

// tryAll opens every message, as the next attempt will: other keys may lack that of
// some, which is to be known before then.
func (e *engine) tryAll() {
	e.mu.Lock()
	if !e.ready || e.closing {
		e.mu.Unlock()
		return
	}
	e.hands.Add(1)
	all := slices.Collect(maps.Values(e.all))
	e.mu.Unlock()
	defer e.hands.Done()
	for _, m := range all {
		err := e.store.Opens(m.env.ID)
		e.mu.Lock()
		if closing := e.closing; m.trying || closing {
			e.mu.Unlock()
			if closing {
				return
			}
			continue
		}
		m.sealed = isSealed(err)
		e.arrange(m, time.Now())
		e.mu.Unlock()
	}
}
