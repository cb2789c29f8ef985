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

package mailing

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/mail"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/connect"
)

const (
	folder = "smtp_connect/mailings"
	// MaxRows bounds an order, keptOrders those that are kept.
	MaxRows    = 10_000
	keptOrders = 20
	// perFile is how many failures lie in one record.
	perFile = 100
	// DefaultPace is what Exchange takes of a mailbox.
	DefaultPace = 30
	// MaxPace bounds the mails of a minute.
	MaxPace = 1000
)

// ErrUnknown is about an order that is not there.
var ErrUnknown = errors.New("no such mailing")

// InvalidError is about what was asked for, and not about the storage. Field is `list`,
// `sender` or `pace`.
type InvalidError struct {
	Field string
	Err   error
}

func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InvalidError) Unwrap() error { return e.Err }

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Errorf(format, args...)}
}

// Row is one invitation to send.
type Row struct {
	connect.Request
	// To is where it goes. Default: who is to sign in, else the mailbox.
	To string `json:"to,omitempty"`
}

// Order is a list of invitations to send. It is never changed.
type Order struct {
	ID string `json:"id"`
	// By is who ordered it, Account what sends, Gateway what it is called.
	By      string `json:"by"`
	Account string `json:"account"`
	Gateway string `json:"gateway"`
	// PerMinute is how many mails leave in a minute at most.
	PerMinute int       `json:"per_minute"`
	Began     time.Time `json:"began"`
	Total     int       `json:"total"`
}

// State is how far an order has come.
type State struct {
	// Next is the row that follows, Sent and Failed what became of those before.
	Next   int `json:"next"`
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
	// Sending is the invitation of the next row while its mail is on its way. Found
	// by another process, it says that nobody knows what became of that mail.
	Sending string `json:"sending,omitempty"`
	// Waiting says why the sending account does not send now.
	Waiting string    `json:"waiting,omitempty"`
	Done    bool      `json:"done,omitempty"`
	Changed time.Time `json:"changed"`
}

// follows reports whether nobody has gone on with the order since another state.
func (s State) follows(o State) bool {
	return s.Next == o.Next && s.Failed == o.Failed && s.Sending == o.Sending && s.Done == o.Done
}

// Status is an order with its state.
type Status struct {
	Order
	State
	// Running reports whether this process works on it, or waits to.
	Running bool
	// Paused reports whether an operator has stopped it.
	Paused bool
}

// Failure is a row that was not sent.
type Failure struct {
	Row     int    `json:"row"`
	Account string `json:"account"`
	To      string `json:"to,omitempty"`
	Why     string `json:"why"`
	// Invitation is that of a mail that may have been sent all the same.
	Invitation string `json:"invitation,omitempty"`
}

// Orders are those of a storage.
type Orders struct{ Storage certmagic.Storage }

func orderKey(id, name string) string { return path.Join(folder, id, name) }

// validID keeps what a browser sends from naming another key.
func validID(id string) bool {
	return len(id) == 26 && !strings.ContainsFunc(id, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') })
}

// Add stores an order; nothing is sent yet.
func (s Orders) Add(ctx context.Context, o Order, rows []Row) (Order, error) {
	switch {
	case len(rows) == 0 || len(rows) > MaxRows:
		return o, invalid("list", "want from 1 to %d rows", MaxRows)
	case o.Account == "":
		return o, invalid("sender", "the account that sends is missing")
	case o.PerMinute < 1 || o.PerMinute > MaxPace:
		return o, invalid("pace", "want from 1 to %d mails a minute", MaxPace)
	}
	for i := range rows {
		if to := rows[i].To; to != "" {
			if a, err := mail.ParseAddress(to); err != nil || a.Address != to {
				return o, invalid("list", "row %d: '%s' is no mail address", i+1, to)
			}
		}
	}
	o.ID, o.Began, o.Total = rand.Text(), time.Now().UTC().Truncate(time.Second), len(rows)
	if err := s.tidy(ctx); err != nil {
		return o, err
	}
	for _, part := range []struct {
		name  string
		value any
	}{{"rows.json", rows}, {"state.json", State{Changed: o.Began}}, {"order.json", o}} {
		if err := s.store(ctx, o.ID, part.name, part.value); err != nil {
			return o, err
		}
	}
	return o, nil
}

// tidy removes the oldest orders that are done.
func (s Orders) tidy(ctx context.Context) error {
	list, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, st := range slices.Backward(list) {
		if len(list) < keptOrders {
			break
		}
		if !st.Done {
			continue
		}
		if err := s.Storage.Delete(ctx, path.Join(folder, st.ID)); err != nil {
			return err
		}
		list = list[:len(list)-1]
	}
	if len(list) >= 2*keptOrders {
		return errors.New("many mailings are under way: end some of them first")
	}
	return nil
}

// List returns the orders, the newest first.
func (s Orders) List(ctx context.Context) ([]Status, error) {
	keys, err := s.Storage.List(ctx, folder, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing mailings: %w", err)
	}
	var list []Status
	for _, key := range keys {
		st, err := s.Get(ctx, path.Base(key))
		if err != nil {
			continue // half of one, whose order was not stored
		}
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b Status) int { return b.Began.Compare(a.Began) })
	return list, nil
}

// Get returns an order as it is now.
func (s Orders) Get(ctx context.Context, id string) (Status, error) {
	var st Status
	if !validID(id) {
		return st, ErrUnknown
	}
	if err := s.load(ctx, id, "order.json", &st.Order); err != nil {
		return st, err
	}
	if err := s.load(ctx, id, "state.json", &st.State); err != nil {
		return st, err
	}
	st.Running, st.Paused = isRunning(id), s.Storage.Exists(ctx, orderKey(id, pausedName))
	return st, nil
}

// pausedName is the record that stops an order on every node.
const pausedName = "paused.json"

// Pause has an order stop behind the row that is being sent, on whatever node.
func (s Orders) Pause(ctx context.Context, id, by string) error {
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	if err := s.store(ctx, id, pausedName, map[string]string{"by": by}); err != nil {
		return err
	}
	stop(id)
	return nil
}

// Resume lets an order go on; what looks after orders takes it up.
func (s Orders) Resume(ctx context.Context, id string) error {
	if !validID(id) {
		return ErrUnknown
	}
	if err := s.Storage.Delete(ctx, orderKey(id, pausedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("resuming a mailing: %w", err)
	}
	return nil
}

// Failures returns the rows that were not sent, from one on.
func (s Orders) Failures(ctx context.Context, id string, from, limit int) ([]Failure, error) {
	st, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	var list []Failure
	for file := max(0, from) / perFile; file*perFile < st.Failed && len(list) < limit; file++ {
		part, err := s.failures(ctx, id, file)
		if err != nil {
			return nil, err
		}
		if file == from/perFile {
			part = part[min(from%perFile, len(part)):]
		}
		list = append(list, part[:min(len(part), limit-len(list))]...)
	}
	return list, nil
}

func failureName(file int) string { return fmt.Sprintf("failures/%04d.json", file) }

func (s Orders) failures(ctx context.Context, id string, file int) (list []Failure, err error) {
	err = s.load(ctx, id, failureName(file), &list)
	if errors.Is(err, ErrUnknown) {
		err = nil
	}
	return list, err
}

// ErrNothing says that none of what failed is left to be sent.
var ErrNothing = errors.New("none of those that failed is left: their owners have agreed meanwhile")

// AddFailed is an order of the rows that another could not send. A mail that may have
// been sent is sent again unless its link was used; its first link is withdrawn.
func (s Orders) AddFailed(ctx context.Context, id, by string) (Order, error) {
	st, err := s.Get(ctx, id)
	if err != nil {
		return Order{}, err
	}
	var rows, again []Row
	if err := s.load(ctx, id, "rows.json", &rows); err != nil {
		return Order{}, err
	}
	failed, err := s.Failures(ctx, id, 0, MaxRows)
	if err != nil {
		return Order{}, err
	}
	invitations := connect.Invitations{Storage: s.Storage}
	for _, f := range failed {
		if f.Row < 0 || f.Row >= len(rows) {
			continue
		}
		if f.Invitation != "" {
			if i, err := invitations.Get(ctx, f.Invitation); err == nil && i.State(time.Now()) == connect.StateUsed {
				continue
			}
			if err := invitations.Revoke(ctx, f.Invitation); err != nil && !errors.Is(err, connect.ErrUnknown) {
				return Order{}, err
			}
		}
		again = append(again, rows[f.Row])
	}
	if len(again) == 0 {
		return Order{}, ErrNothing
	}
	o := st.Order
	o.By = by
	return s.Add(ctx, o, again)
}

func (s Orders) store(ctx context.Context, id, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := s.Storage.Store(ctx, orderKey(id, name), text); err != nil {
		return fmt.Errorf("storing a mailing: %w", err)
	}
	return nil
}

func (s Orders) load(ctx context.Context, id, name string, v any) error {
	text, err := s.Storage.Load(ctx, orderKey(id, name))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrUnknown
	}
	if err != nil {
		return fmt.Errorf("loading a mailing: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("mailing %s: %s is damaged", id, name)
	}
	return nil
}
