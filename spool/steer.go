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
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// Reasons for which an operator's wish is not followed.
var (
	// ErrNotFound says that no spool of the process has a message of that id.
	ErrNotFound = errors.New("no such message in the spool")
	// ErrBusy says that the message is being sent.
	ErrBusy = errors.New("the message is being sent, try again later")
	// ErrClosing says that the configuration has its spool no longer, or the process
	// ends.
	ErrClosing = errors.New("the spool is being closed, try again later")
)

// Status is the state of one spool.
type Status struct {
	// Upstream is the spool's name among the upstreams.
	Upstream  string `json:"upstream"`
	Directory string `json:"directory"`
	// Ready is false while another process has the directory.
	Ready bool `json:"ready"`
	// Error is what failed on the disk, where nothing is accepted until a restart, or
	// why the directory is not where it was, or cannot be read.
	Error    string `json:"error,omitempty"`
	Messages int    `json:"messages"`
	// Keeping are messages that are being written: their clients have heard nothing
	// yet.
	Keeping  int        `json:"keeping,omitempty"`
	Octets   int64      `json:"octets"`
	Held     int        `json:"held"`
	Sending  int        `json:"sending"`
	Accounts int        `json:"accounts"`
	Oldest   *time.Time `json:"oldest,omitempty"`
	// Draining is there while the spool is being emptied.
	Draining *Draining `json:"draining,omitempty"`
	// Results counts what came of messages since the process started:
	// accepted, sent, refused, deferred, handed_over, given_up, held, deleted.
	Results map[string]int64 `json:"results"`
	// Full is set while nothing further is kept, for want of room.
	Full bool `json:"full,omitempty"`
	// GaveUp has the accounts that a message was given up of within an hour.
	GaveUp map[string]time.Time `json:"gave_up,omitempty"`
	// LeftAlone are files of the directory that are damaged or none of ours.
	LeftAlone []Oddity `json:"left_alone,omitempty"`
	// Problems are what is wrong with it, each with what to do.
	Problems []checkup.Finding `json:"problems,omitempty"`

	findings []checkup.Finding // the same, or that all is well
	age      time.Duration     // of the oldest, whatever the host's clock says
}

// Oddity is a file in the directory that is left alone.
type Oddity = store.Oddity

// Message is the state of one kept message.
type Message struct {
	ID       string    `json:"id"`
	Upstream string    `json:"upstream"`
	Account  string    `json:"account"`
	From     string    `json:"from"`
	Size     int64     `json:"size"`
	Created  time.Time `json:"created"`
	Attempts int       `json:"attempts"`
	// State is `waiting`, `sending` or `held`.
	State string `json:"state"`
	// Next is when the next attempt is due, if nothing else is in front.
	Next time.Time `json:"next"`
	// Why says why it is held.
	Why string `json:"why,omitempty"`
	// Reply is the last word on it.
	Reply      string      `json:"reply,omitempty"`
	Report     bool        `json:"report,omitempty"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is one recipient of a kept message.
type Recipient struct {
	Address string `json:"address"`
	// State is `waiting`, `sent` or `refused`.
	State string `json:"state"`
	Reply string `json:"reply,omitempty"`
}

// running returns the engines of the process in the order of their names.
func running() []*engine {
	enginesMu.Lock()
	all := slices.Collect(maps.Values(engines))
	enginesMu.Unlock()
	slices.SortFunc(all, func(a, b *engine) int { return cmp.Compare(a.name(), b.name()) })
	return all
}

func (e *engine) name() string {
	if t, ok := e.gens.Current(); ok {
		return t.name
	}
	return ""
}

// Statuses returns the state of every spool of the process.
func Statuses() []Status {
	list := []Status{}
	for _, e := range running() {
		list = append(list, e.status())
	}
	return list
}

func (e *engine) status() Status {
	e.lookIfAsked()
	failed, gone, full := e.store.Illness(), e.store.Gone(), e.store.Full()
	ill := cmp.Or(failed, gone)
	facts := &illness.Facts{Full: full}
	gaveUp := e.ledger.Recent(facts, time.Now(), e.reportsNow)
	e.mu.Lock()
	defer e.mu.Unlock()
	st := Status{
		Upstream: e.name(), Directory: e.store.Dir(), Ready: e.ready, Messages: len(e.all), Keeping: e.keeping, Accounts: len(e.lanes),
		Results: maps.Clone(e.results), LeftAlone: e.odd, Draining: e.draining, Full: full != "" && failed == nil, GaveUp: gaveUp,
	}
	if ill == nil && !errors.Is(e.unready, disk.ErrLocked) && !errors.Is(e.unready, errReading) {
		ill = e.unready
	}
	if ill != nil {
		st.Error = ill.Error()
	}
	st.Octets, st.Held, st.Sending = e.tally.octets, e.tally.count[held], e.tally.count[sending]
	if m := e.oldest(true); m != nil {
		created := m.env.Created
		st.Oldest, st.age = &created, time.Since(m.since)
	}
	e.examine(&st, facts, failed, gone)
	return st
}

// Get returns one message.
func Get(id string) (Message, error) {
	for _, e := range running() {
		name := e.name()
		e.mu.Lock()
		m, ok := e.all[id]
		var v Message
		if ok {
			v = m.view(name)
		}
		e.mu.Unlock()
		if ok {
			return v, nil
		}
	}
	return Message{}, ErrNotFound
}

// view is what is shown of a message. The engine's lock is held.
func (m *message) view(upstream string) Message {
	v := Message{
		ID: m.env.ID, Upstream: upstream, Account: m.env.Account, From: m.env.From, Size: m.size, Created: m.env.Created,
		Attempts: m.attempts, State: "waiting", Next: m.next, Why: m.held, Reply: m.reply, Report: m.env.Report,
	}
	switch {
	case m.trying:
		v.State = "sending"
	case m.held != "":
		v.State = "held"
	}
	for i := range m.env.Rcpts {
		r := Recipient{Address: m.env.Rcpts[i].To, State: "waiting", Reply: m.replies[i]}
		switch {
		case m.sent[i]:
			r.State, r.Reply = "sent", ""
		case m.settled[i]:
			r.State = "refused"
		}
		v.Recipients = append(v.Recipients, r)
	}
	return v
}

// Hold keeps a message from being sent until it is released. One that is held already
// keeps its reason.
func Hold(id string) error {
	return steer(id, func(e *engine, rec *record.File, m *message) error {
		e.mu.Lock()
		already := m.held != ""
		e.mu.Unlock()
		if already {
			return nil
		}
		return e.note(rec, m, &record.Line{At: time.Now(), Event: record.EventHold, Why: illness.WhyOperator})
	})
}

// Release lets a held message go on, and is due at once.
func Release(id string) error {
	return steer(id, func(e *engine, rec *record.File, m *message) error {
		now := time.Now()
		// It is the mailbox's that the account has now, if it was another's.
		l := &record.Line{At: now, Event: record.EventRelease, Next: now, Mailbox: e.mailboxNow(m), Lost: rec.Lost()}
		if err := e.note(rec, m, l); err != nil {
			return err
		}
		e.mu.Lock()
		m.reportAt = time.Time{}
		m.lane.until = time.Time{}
		e.mu.Unlock()
		return nil
	})
}

// Delete removes a message without a report.
func Delete(id string) error {
	return steer(id, func(e *engine, rec *record.File, m *message) error {
		e.mu.Lock()
		left := m.left()
		l := &record.Line{At: time.Now(), Event: record.EventResult, Refused: left, Reported: slices.Sorted(maps.Keys(m.owed))}
		e.mu.Unlock()
		switch err := e.note(rec, m, l); {
		case disk.IsFull(err) && e.store.Illness() == nil:
			// It makes room: what cannot be noted for want of it is removed without. If it
			// is not, the next process would send it.
			if err := e.store.RemoveForGood(m.env, m.size); err != nil {
				return err
			}
			e.mu.Lock()
			m.apply(l)
			m.gone = true
			e.mu.Unlock()
		case err != nil:
			return err
		}
		e.count("deleted")
		return nil
	})
}

// steer changes one message, which is not sent meanwhile.
func steer(id string, change func(e *engine, rec *record.File, m *message) error) error {
	for _, e := range running() {
		if err := e.steer(id, change); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return ErrNotFound
}

// steer makes one change after the other: what one operator does another one's command
// finds done, and a message that is not free is being sent.
func (e *engine) steer(id string, change func(e *engine, rec *record.File, m *message) error) error {
	e.steering.Lock()
	defer e.steering.Unlock()
	e.mu.Lock()
	m, ok := e.all[id]
	if err := e.mayChange(m, ok); err != nil {
		e.mu.Unlock()
		return err
	}
	e.occupied(m)
	e.hands.Add(1)
	e.mu.Unlock()
	defer e.hands.Done()
	err := e.change(id, m, change)
	e.mu.Lock()
	e.free(m)
	e.mu.Unlock()
	e.wake()
	if err == nil {
		e.logger.Info("spooled message changed by an operator", zap.String("id", id), zap.String("account", m.env.Account))
	}
	return err
}

// mayChange reports why a message must not be changed now. The lock is held.
func (e *engine) mayChange(m *message, there bool) error {
	switch {
	case !there:
		return ErrNotFound
	case e.closing:
		return ErrClosing
	case m.trying:
		return ErrBusy
	}
	return nil
}

func (e *engine) change(id string, m *message, change func(e *engine, rec *record.File, m *message) error) error {
	log := e.logger.With(zap.String("id", id), zap.String("account", m.env.Account))
	rec, err := e.openJournal(m, log)
	if errors.Is(err, fs.ErrNotExist) {
		e.unreadable(m, err, log)
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	err = change(e, rec, m)
	_ = rec.Close()
	if err == nil {
		e.dropOver(m, e.logger)
	}
	return err
}
