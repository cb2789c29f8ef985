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

	"github.com/caddymail/mailgateway/accounts"
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

// work is an order that this process works on.
type work struct {
	stop  context.CancelFunc
	ended chan struct{}
	// stopped says that it was stopped, again that it goes on behind that.
	stopped, again bool
}

// runs are the orders that this process works on. They outlive a reload.
var runs = struct {
	mu   sync.Mutex
	work map[string]*work
}{work: make(map[string]*work)}

func isRunning(id string) bool {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	return runs.work[id] != nil
}

// Start works on an order from where it is, in the background. An order that is
// worked on goes on as it does.
func (r Runner) Start(id string) {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	if w := runs.work[id]; w != nil {
		w.again = w.stopped
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &work{stop: cancel, ended: make(chan struct{})}
	runs.work[id] = w
	go func() {
		defer func() {
			runs.mu.Lock()
			delete(runs.work, id)
			again := w.again
			runs.mu.Unlock()
			cancel()
			close(w.ended)
			if again {
				r.Start(id)
			}
		}()
		if err := r.work(ctx, id); err != nil && ctx.Err() == nil {
			r.Logger.Error("invitations are not sent for now", zap.String("mailing", id), zap.Error(err))
		}
	}()
}

// stop has this process leave an order behind the row that is being sent.
func stop(id string) {
	runs.mu.Lock()
	defer runs.mu.Unlock()
	if w := runs.work[id]; w != nil {
		w.stopped, w.again = true, false
		w.stop()
	}
}

// errOvertaken is about an order that another process has gone on with: this one was
// stopped for so long that its lock was taken for an ended process's.
var errOvertaken = errors.New("another process has gone on with the mailing")

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
	if err != nil || st.Done {
		return err
	}
	var rows []Row
	if err := r.load(ctx, id, "rows.json", &rows); err != nil {
		return err
	}
	if st.Sending != "" && st.Next < len(rows) {
		if err := r.failed(ctx, &st, rows[st.Next], Failure{Why: whyEnded, Invitation: st.Sending}); err != nil {
			return err
		}
	}
	for st.Next < len(rows) && !r.stopped(ctx, id) {
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
	before := st.State
	st.Done = true
	r.Logger.Info("invitations were sent", zap.String("mailing", id), zap.Int("sent", st.Sent), zap.Int("failed", st.Failed))
	return r.save(ctx, &st, before)
}

// stopped reports whether the process ends, or an operator has paused the order.
func (r Runner) stopped(ctx context.Context, id string) bool {
	return ctx.Err() != nil || r.Storage.Exists(ctx, orderKey(id, pausedName))
}

// save writes down how far an order is, if it is still as it was before. It outlives a
// pause: what was sent is written down.
func (r Runner) save(ctx context.Context, st *Status, before State) error {
	ctx = context.WithoutCancel(ctx)
	var now State
	if err := r.load(ctx, st.ID, "state.json", &now); err != nil {
		return err
	}
	if !now.follows(before) {
		return errOvertaken
	}
	st.Changed = time.Now().UTC()
	return r.store(ctx, st.ID, "state.json", st.State)
}

// Reasons that are shown for a mail of which nobody knows what became.
const (
	whyEnded  = "It is not known whether this mail went out: the gateway ended while it was sent."
	whyUnsure = "It is not known whether this mail went out: "
)

// row invites one owner and sends the mail, however long the account has to wait.
func (r Runner) row(ctx context.Context, st *Status, row Row) error {
	pause := firstPause
	// later makes the order wait for what concerns the gateway or the account.
	later := func(err error) error {
		before := st.State
		st.Sending, st.Waiting = "", short(err)
		if err := r.save(ctx, st, before); err != nil {
			return err
		}
		r.Wait(ctx, pause)
		pause = min(2*pause, longestPause)
		return nil
	}
	var invited connect.Invited
	for {
		var err error
		if invited, err = r.Invite(ctx, row.Request); err == nil {
			break
		}
		if r.stopped(ctx, st.ID) {
			return nil
		}
		if ofInvitation(err) {
			return r.failed(ctx, st, row, Failure{Why: short(err)})
		}
		if err := later(err); err != nil {
			return err
		}
	}
	to := cmp.Or(row.To, invited.Owner())
	for {
		// Written down first: a process that is killed now sends this mail, or does
		// not, and no other sends it again.
		before := st.State
		st.Sending = invited.ID
		if err := r.save(ctx, st, before); err != nil {
			_ = r.Revoke(context.WithoutCancel(ctx), invited.ID) // nobody has its link
			return err
		}
		// A mail that has begun is sent, whatever comes.
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
		err := r.Send(sending, st.Account, to, func(from string) []byte { return message(from, to, st.Gateway, &invited, time.Now()) })
		cancel()
		switch {
		case err == nil:
			before := st.State
			st.Next, st.Sent, st.Sending, st.Waiting = st.Next+1, st.Sent+1, "", ""
			return r.save(ctx, st, before)
		case unsure(err):
			return r.failed(ctx, st, row, Failure{To: to, Why: whyUnsure + short(err), Invitation: invited.ID})
		case ofRow(err):
			_ = r.Revoke(context.WithoutCancel(ctx), invited.ID) // nobody has its link
			return r.failed(ctx, st, row, Failure{To: to, Why: short(err)})
		}
		if err := later(err); err != nil {
			return err
		}
		if r.stopped(ctx, st.ID) {
			_ = r.Revoke(context.WithoutCancel(ctx), invited.ID)
			return nil
		}
	}
}

func (r Runner) failed(ctx context.Context, st *Status, row Row, f Failure) error {
	ctx = context.WithoutCancel(ctx)
	f.Row, f.Account = st.Next, row.Account
	file := st.Failed / perFile
	list, e := r.failures(ctx, st.ID, file)
	if e != nil {
		return e
	}
	// One that a killed process has written down is written over.
	list = append(list[:min(st.Failed%perFile, len(list))], f)
	if err := r.store(ctx, st.ID, failureName(file), list); err != nil {
		return err
	}
	before := st.State
	st.Next, st.Failed, st.Sending, st.Waiting = st.Next+1, st.Failed+1, "", ""
	return r.save(ctx, st, before)
}

// ofInvitation reports whether an invitation that cannot be made is the row's fault, and
// not that of a configuration or a storage that is away for now.
func ofInvitation(err error) bool {
	if _, ok := errors.AsType[*connect.FieldError](err); ok {
		return true
	}
	return errors.Is(err, accounts.ErrNotFound) || errors.Is(err, operate.ErrNoUpstream) || errors.Is(err, operate.ErrNoOAuth) || errors.Is(err, connect.ErrNoProvider)
}

// unsure reports whether a mail may have been taken though nothing says so.
func unsure(err error) bool {
	if !strings.HasPrefix(err.Error(), "message: ") {
		return false
	}
	_, answered := errors.AsType[*relay.Reply](err)
	return !answered || errors.Is(err, relay.ReplyDeliveryUnknown) || errors.Is(err, relay.ReplyAPIUnknown)
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
	return operate.SendMail(ctx, account, "", []string{to}, func(from string, _ []string) []byte { return message(from) })
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
