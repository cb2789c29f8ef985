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
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/storelock"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
)

// Runner works on the orders of a storage.
type Runner struct {
	Orders
	Logger *zap.Logger

	// What follows is the gateway's own if it is nil.

	Invite func(ctx context.Context, r connect.Request) (connect.Invited, error)
	Revoke func(ctx context.Context, id string) error
	Send   func(ctx context.Context, account, to string, message func(from string) []byte) error
	// Wait is the time between two mails, and until the next attempt.
	Wait func(ctx context.Context, d time.Duration)
}

const (
	sendTimeout = 2 * time.Minute
	// firstPause and longestPause are between attempts of an account that does not send.
	firstPause, longestPause = 5 * time.Second, 5 * time.Minute
	maxWhy                   = 300
)

// runs are the orders that this process works on. They outlive a reload.
var runs = struct {
	mu   sync.Mutex
	stop map[string]context.CancelFunc
}{stop: make(map[string]context.CancelFunc)}

func isRunning(id string) bool {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	return runs.stop[id] != nil
}

// Start works on an order from where it is, in the background. An order that is
// worked on goes on as it does.
func (r Runner) Start(id string) {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	if runs.stop[id] != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	runs.stop[id] = cancel
	go func() {
		defer func() {
			runs.mu.Lock()
			delete(runs.stop, id)
			runs.mu.Unlock()
			cancel()
		}()
		if err := r.work(ctx, id); err != nil && ctx.Err() == nil {
			r.Logger.Error("invitations are no longer sent", zap.String("mailing", id), zap.Error(err))
		}
	}()
}

// Pause has an order stop behind the row that is being sent.
func Pause(id string) {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	if stop := runs.stop[id]; stop != nil {
		stop()
	}
}

func (r Runner) work(ctx context.Context, id string) error {
	if r.Send == nil {
		r.Invite, r.Revoke, r.Send, r.Wait = connect.Invite, revoke, send, wait
	}
	unlock, err := storelock.Lock(ctx, r.Storage, "smtp_mailing_"+id, 10*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	// Behind the lock: another node may have gone on.
	st, err := r.Get(ctx, id)
	if err != nil {
		return err
	}
	var rows []Row
	if err := r.load(ctx, id, "rows.json", &rows); err != nil {
		return err
	}
	for st.Next < len(rows) && ctx.Err() == nil {
		if err := r.row(ctx, &st, rows[st.Next]); err != nil {
			return err
		}
		if st.Next < len(rows) {
			r.Wait(ctx, time.Minute/time.Duration(st.PerMinute))
		}
	}
	if st.Next < len(rows) {
		return nil // paused
	}
	st.Done = true
	r.Logger.Info("invitations were sent", zap.String("mailing", id), zap.Int("sent", st.Sent), zap.Int("failed", st.Failed))
	return r.save(ctx, &st)
}

// save outlives a pause: what was sent is written down.
func (r Runner) save(ctx context.Context, st *Status) error {
	st.Changed = time.Now().UTC()
	return r.store(context.WithoutCancel(ctx), st.ID, "state.json", st.State)
}

// row invites one owner and sends the mail, however long the account has to wait.
func (r Runner) row(ctx context.Context, st *Status, row Row) error {
	invited, err := r.Invite(ctx, row.Request)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return r.failed(ctx, st, row, "", err)
	}
	to := cmp.Or(row.To, invited.Owner())
	pause := firstPause
	for {
		// A mail that has begun is sent, whatever comes.
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
		err := r.Send(sending, st.Account, to, func(from string) []byte { return message(from, to, st.Gateway, &invited, time.Now()) })
		cancel()
		switch {
		case err == nil:
			st.Next, st.Sent, st.Waiting = st.Next+1, st.Sent+1, ""
			return r.save(ctx, st)
		case ofRow(err):
			_ = r.Revoke(context.WithoutCancel(ctx), invited.ID) // nobody has its link
			return r.failed(ctx, st, row, to, err)
		}
		st.Waiting = short(err)
		if err := r.save(ctx, st); err != nil {
			return err
		}
		r.Wait(ctx, pause)
		if ctx.Err() != nil {
			_ = r.Revoke(context.WithoutCancel(ctx), invited.ID)
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

func (r Runner) failed(ctx context.Context, st *Status, row Row, to string, err error) error {
	ctx = context.WithoutCancel(ctx)
	file := st.Failed / perFile
	list, e := r.failures(ctx, st.ID, file)
	if e != nil {
		return e
	}
	// One that a killed process has written down is written over.
	list = append(list[:min(st.Failed%perFile, len(list))], Failure{st.Next, row.Account, to, short(err)})
	if err := r.store(ctx, st.ID, failureName(file), list); err != nil {
		return err
	}
	st.Next, st.Failed, st.Waiting = st.Next+1, st.Failed+1, ""
	return r.save(ctx, st)
}

// ofRow reports whether an error is about one recipient or one message, and not
// about the account that sends.
func ofRow(err error) bool {
	reply, ok := errors.AsType[*relay.Reply](err)
	text := err.Error()
	return ok && (strings.HasPrefix(text, "recipient ") || strings.HasPrefix(text, "message: ") && reply.Code >= 500)
}

func short(err error) string {
	return printable.Cut(strings.Join(strings.Fields(err.Error()), " "), maxWhy)
}

func send(ctx context.Context, account, to string, message func(string) []byte) error {
	return operate.SendMail(ctx, account, "", []string{to}, message)
}

func revoke(ctx context.Context, id string) error {
	site, err := connect.Current()
	if err != nil {
		return err
	}
	return site.Invitations.Revoke(ctx, id)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
