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

// Package trial sends test mails that really go out, and keeps what came of each step
// for half an hour. They belong to the process: a reload ends none.
package trial

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreamapp"
)

const (
	// most bounds those that are under way or can still be looked at.
	most    = 100
	timeout = 2 * time.Minute
	kept    = 30 * time.Minute
)

// trial is a test mail under way, or what came of it.
type trial struct {
	ID, Account, From, To string
	upstream              string
	began                 time.Time

	mu    sync.Mutex
	steps []Step
	done  bool
	ok    bool
}

// Step is one step of a test mail.
type Step struct {
	Name, Said, Error string
	Took              time.Duration
	Explained         *explain.Explanation
}

// View is a test mail as a page shows it.
type View struct {
	ID, Account, From, To string
	Steps                 []Step
	Done, OK              bool
}

// trials are those of the process.
var trials = struct {
	sync.Mutex
	byID map[string]*trial
}{byID: make(map[string]*trial)}

// ErrMany says that there are too many to remember another.
var ErrMany = errors.New("too many test mails were sent in the last half hour")

func keep(t *trial) error {
	trials.Lock()
	defer trials.Unlock()
	for id, old := range trials.byID {
		if time.Since(old.began) > kept {
			delete(trials.byID, id)
		}
	}
	if len(trials.byID) >= most {
		return ErrMany
	}
	trials.byID[t.ID] = t
	return nil
}

// HasSent reports whether a test mail of an account has gone out lately, through the
// upstream that it has now.
func HasSent(a *accounts.Account) bool {
	trials.Lock()
	defer trials.Unlock()
	for _, t := range trials.byID {
		t.mu.Lock()
		sent := t.done && t.ok && t.Account == a.Name && t.upstream == a.Upstream
		t.mu.Unlock()
		if sent {
			return true
		}
	}
	return false
}

// Start sends a test mail of an account, and returns its ID.
func Start(a *accounts.Account, from, to, gateway string) (id string, err error) {
	t := &trial{ID: rand.Text(), Account: a.Name, From: from, To: to, upstream: a.Upstream, began: time.Now()}
	if err := keep(t); err != nil {
		return "", err
	}
	go t.run(a, gateway)
	return t.ID, nil
}

// Get returns a test mail with its steps so far.
func Get(id string) (v View, ok bool) {
	trials.Lock()
	t := trials.byID[id]
	trials.Unlock()
	if t == nil {
		return v, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return View{t.ID, t.Account, t.From, t.To, append([]Step{}, t.steps...), t.done, t.ok}, true
}

// run goes the whole way: a trial login with a fresh token and the account's own rules,
// then a message.
func (t *trial) run(a *accounts.Account, gateway string) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ok := t.login(ctx, a) && t.send(ctx, a, gateway)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done, t.ok = true, ok
}

func (t *trial) step(s Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, s)
}

func (t *trial) login(ctx context.Context, a *accounts.Account) bool {
	result, err := operate.VerifyEach(ctx, a, t.From, func(s operate.VerifyStep) {
		t.step(Step{s.Name, s.Said, s.Error, s.Took, s.Explanation})
	})
	switch {
	case err != nil:
		t.step(Step{Name: "account", Error: err.Error()})
		return false
	case !result.OK && (len(result.Steps) == 0 || result.Steps[len(result.Steps)-1].Error == ""):
		t.step(Step{Name: "end", Error: result.Error, Explained: result.Explanation})
	}
	return result.OK
}

func (t *trial) send(ctx context.Context, a *accounts.Account, gateway string) bool {
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		t.step(Step{Name: "message", Error: err.Error()})
		return false
	}
	began := time.Now()
	reply, info, err := app.Send(ctx, a, t.From, nil, relay.Recipient{To: t.To}, bytes.NewReader(operate.TestMail(t.From, t.To, gateway, began)))
	s := Step{Name: "message", Took: time.Since(began)}
	if err != nil {
		s.Error = err.Error()
		if e, ok := (explain.About{Account: a.Name, Mailbox: a.Mailbox}).Of(s.Error); ok {
			s.Explained = &e
		}
	} else {
		s.Said = reply.Error()
		if info.Spooled != "" {
			s.Said += " (kept in the gateway's spool, to be sent later)"
		}
	}
	t.step(s)
	return err == nil
}
