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

package smtpapp

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// message is what the fake upstream has been given.
type message struct {
	account string
	record  *accounts.Account
	from    string
	opts    smtp.MailOptions
	to      []string
	rcpts   []smtp.RcptOptions
	body    []byte
}

// fakeUpstream stands for the provider. It runs in the process, but reads
// bodies to their end as the real one does.
type fakeUpstream struct {
	mu       sync.Mutex
	messages []message
	flights  [][]string // recipients by flight
	begins   int
	aborts   int
	warmed   []string

	beginErr  error
	rcptErr   func(to string) error
	reply     relay.Reply
	dataErr   error
	lie       relay.Reply // what Data says if it does not read
	onPanic   string
	early     bool                 // fail before the body is read
	onData    func(body io.Reader) // in place of reading the body
	hold      chan struct{}        // Data waits for it
	inData    chan struct{}        // told when Data begins
	beginHook func(ctx context.Context)
}

func (u *fakeUpstream) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	u.mu.Lock()
	u.begins++
	hook := u.beginHook
	err := u.beginErr
	u.mu.Unlock()
	if hook != nil {
		hook(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &fakeTx{u: u, m: message{account: a.Name, record: a, from: from, opts: *opts}}, nil
}

func (u *fakeUpstream) Warm(a *accounts.Account) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.warmed = append(u.warmed, a.Name)
}

func (u *fakeUpstream) taken() []message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]message(nil), u.messages...)
}

type fakeTx struct {
	u    *fakeUpstream
	m    message
	done bool
}

func (tx *fakeTx) Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error {
	return tx.RcptBatch(ctx, []relay.Recipient{{To: to, Opts: *opts}})[0]
}

func (tx *fakeTx) RcptBatch(_ context.Context, rcpts []relay.Recipient) []error {
	tx.u.mu.Lock()
	defer tx.u.mu.Unlock()
	errs := make([]error, len(rcpts))
	var flight []string
	for i, r := range rcpts {
		flight = append(flight, r.To)
		if tx.u.rcptErr != nil {
			errs[i] = tx.u.rcptErr(r.To)
		}
		if errs[i] == nil {
			tx.m.to = append(tx.m.to, r.To)
			tx.m.rcpts = append(tx.m.rcpts, r.Opts)
		}
	}
	tx.u.flights = append(tx.u.flights, flight)
	return errs
}

func (tx *fakeTx) Data(ctx context.Context, body io.Reader) (relay.Reply, error) {
	return tx.u.take(ctx, &tx.m, body, &tx.done)
}

func (u *fakeUpstream) take(ctx context.Context, m *message, body io.Reader, done *bool) (relay.Reply, error) {
	u.mu.Lock()
	early, dataErr, onData, hold, inData := u.early, u.dataErr, u.onData, u.hold, u.inData
	u.mu.Unlock()
	if inData != nil {
		inData <- struct{}{}
	}
	if u.onPanic != "" {
		panic(u.onPanic)
	}
	if early {
		return u.lie, dataErr
	}
	if onData != nil {
		onData(body)
		return relay.Reply{}, relay.ReplyUpstreamLost
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return relay.Reply{}, errors.Join(relay.ReplyUpstreamLost, err)
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return relay.Reply{}, relay.ReplyUpstreamLost
		}
	}
	if dataErr != nil {
		return relay.Reply{}, dataErr
	}
	m.body = b
	*done = true
	u.mu.Lock()
	defer u.mu.Unlock()
	u.messages = append(u.messages, *m)
	r := u.reply
	if r.Code == 0 {
		r = relay.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"2.0.0 OK 12345 provider"}}
	}
	return r, nil
}

func (tx *fakeTx) Abort() {
	tx.u.mu.Lock()
	defer tx.u.mu.Unlock()
	if !tx.done {
		tx.done = true
		tx.u.aborts++
	}
}

func (tx *fakeTx) Describe() relay.Info { return relay.Info{Upstream: "fake", Reused: true} }

// singleUpstream can send in one flight too.
type singleUpstream struct{ *fakeUpstream }

func (u singleUpstream) Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	m := message{account: a.Name, record: a, from: from, opts: *opts, to: []string{to.To}}
	var done bool
	r, err := u.take(ctx, &m, body, &done)
	return r, relay.Info{Upstream: "fake"}, err
}
