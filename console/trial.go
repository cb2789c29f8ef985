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

package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/mail"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreamapp"
)

const (
	// maxTrials bounds those that are under way or can still be looked at.
	maxTrials    = 100
	trialTimeout = 2 * time.Minute
	trialKept    = 30 * time.Minute
)

// trial is a test mail under way, or what came of it. It belongs to the process: a
// reload does not end it.
type trial struct {
	ID, Account, From, To string
	began                 time.Time

	mu    sync.Mutex
	steps []trialStep
	done  bool
	ok    bool
}

// trialStep is one step of a test mail.
type trialStep struct {
	Name, Said, Error string
	Took              time.Duration
	Explained         *explain.Explanation
}

// trialView is a trial as a page shows it.
type trialView struct {
	ID, Account, From, To string
	Steps                 []trialStep
	Done, OK              bool
}

// trials are those of the process.
var trials = struct {
	sync.Mutex
	byID map[string]*trial
}{byID: make(map[string]*trial)}

func keepTrial(t *trial) error {
	trials.Lock()
	defer trials.Unlock()
	for id, old := range trials.byID {
		if time.Since(old.began) > trialKept {
			delete(trials.byID, id)
		}
	}
	if len(trials.byID) >= maxTrials {
		return refuse(http.StatusTooManyRequests, "Too many test mails were sent in the last half hour.")
	}
	trials.byID[t.ID] = t
	return nil
}

// hasSent reports whether a test mail of an account has gone out lately.
func hasSent(account string) bool {
	trials.Lock()
	defer trials.Unlock()
	for _, t := range trials.byID {
		t.mu.Lock()
		sent := t.done && t.ok && t.Account == account
		t.mu.Unlock()
		if sent {
			return true
		}
	}
	return false
}

// startTrial sends a test mail, which the next page shows the steps of.
func startTrial(v *visit) error {
	_, a, err := v.account()
	if err != nil {
		return err
	}
	form := v.r.PostForm
	t := &trial{ID: rand.Text(), Account: a.Name, From: a.Mailbox, began: time.Now()}
	for field, p := range map[string]*string{"from": &t.From, "to": &t.To} {
		text := strings.TrimSpace(form.Get(field))
		if text == "" && field == "from" {
			continue
		}
		addr, err := mail.ParseAddress(text)
		if err != nil || addr.Address != text || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return refuse(http.StatusBadRequest, "Field %s: want a mail address such as you@example.com.", field)
		}
		*p = text
	}
	if err := keepTrial(t); err != nil {
		return err
	}
	v.did("test mail sent", zap.String("account", a.Name), zap.String("trial", t.ID))
	go t.run(a, v.h.Name)
	return v.leave("trials", t.ID)
}

// run goes the whole way: a trial login with a fresh token and the account's own rules,
// then a message.
func (t *trial) run(a *accounts.Account, gateway string) {
	ctx, cancel := context.WithTimeout(context.Background(), trialTimeout)
	defer cancel()
	ok := t.login(ctx, a) && t.send(ctx, a, gateway)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done, t.ok = true, ok
}

func (t *trial) step(s trialStep) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, s)
}

func (t *trial) login(ctx context.Context, a *accounts.Account) bool {
	result, err := operate.VerifyEach(ctx, a, t.From, func(s operate.VerifyStep) {
		t.step(trialStep{s.Name, s.Said, s.Error, s.Took, s.Explanation})
	})
	switch {
	case err != nil:
		t.step(trialStep{Name: "account", Error: err.Error()})
		return false
	case !result.OK && (len(result.Steps) == 0 || result.Steps[len(result.Steps)-1].Error == ""):
		t.step(trialStep{Name: "end", Error: result.Error, Explained: result.Explanation})
	}
	return result.OK
}

func (t *trial) send(ctx context.Context, a *accounts.Account, gateway string) bool {
	app, err := operate.App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		t.step(trialStep{Name: "message", Error: err.Error()})
		return false
	}
	began := time.Now()
	reply, info, err := app.Send(ctx, a, t.From, nil, relay.Recipient{To: t.To}, bytes.NewReader(operate.TestMail(t.From, t.To, gateway, began)))
	s := trialStep{Name: "message", Took: time.Since(began)}
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

var errNoTrial = errors.New("no such test mail")

// showTrial shows the steps so far. With `part`, only they are sent, for an open page.
func showTrial(v *visit) error {
	trials.Lock()
	t := trials.byID[v.r.PathValue("id")]
	trials.Unlock()
	if t == nil {
		return refuse(http.StatusNotFound, "%v: they are kept for half an hour.", errNoTrial)
	}
	t.mu.Lock()
	w := trialView{t.ID, t.Account, t.From, t.To, append([]trialStep{}, t.steps...), t.done, t.ok}
	t.mu.Unlock()
	if v.r.URL.Query().Has("part") {
		return v.part("trial_steps", w)
	}
	return v.show(http.StatusOK, "trial", "accounts", "Test mail", w)
}
