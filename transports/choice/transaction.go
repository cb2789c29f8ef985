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

package choice

import (
	"context"
	"errors"
	"io"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// transaction is a message on one way. Its first recipient may still show that
// the way is closed: the connection that it was given was gone, and the login of
// another one was refused. Nothing of the message has left then.
type transaction struct {
	relay.Transaction

	t    *Transport
	way  way
	rest []way
	not  []obstacle
	acct *accounts.Account
	from string
	opts *smtp.MailOptions

	settled bool  // a recipient was answered
	lost    error // no way was left: the answer to everything
}

// cannot are the refusals of a recipient that show what a way cannot carry, and
// another may.
var cannot = []*relay.Reply{relay.ReplyAPIDSN, relay.ReplyNoSMTPUTF8}

// begin opens the first of the ways that is not closed.
func (tx *transaction) begin(ctx context.Context) error {
	for len(tx.rest) > 0 {
		tx.way, tx.rest = tx.rest[0], tx.rest[1:]
		next, err := tx.way.Begin(ctx, tx.acct, tx.from, tx.opts)
		if err == nil {
			tx.Transaction = next
			return nil
		}
		if !tx.closes(err) {
			return err
		}
	}
	return refusal(tx.not)
}

// closes reports whether an error says that the way is closed, or that it cannot
// carry this message, and notes it.
func (tx *transaction) closes(err error) bool {
	if err == nil {
		return false
	}
	for _, r := range cannot {
		if errors.Is(err, r) {
			tx.not = append(tx.not, obstacle{tx.way.name, r.Error(), r})
			return true
		}
	}
	if !closing(err.Error()) {
		return false
	}
	learn(tx.way.name, tx.acct, err.Error(), true)
	tx.t.closedWay(tx.way.name, tx.acct, err)
	tx.not = append(tx.not, obstacle{tx.way.name, err.Error(), relay.ReplyWayClosed(err.Error())})
	return true
}

// move takes the next way instead of one that turned out to be closed. Why there
// is none stands for the rest of the message: it may be a limit or an outage of
// the next way, which passes.
func (tx *transaction) move(ctx context.Context) error {
	tx.Transaction.Abort()
	tx.lost = tx.begin(ctx)
	return tx.lost
}

// Rcpt implements relay.Transaction.
func (tx *transaction) Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error {
	for tx.lost == nil {
		err := tx.Transaction.Rcpt(ctx, to, opts)
		if tx.settled || !tx.closes(err) {
			tx.settled = true
			return err
		}
		_ = tx.move(ctx) // kept in lost
	}
	return tx.lost
}

// RcptBatch implements relay.RcptBatcher.
func (tx *transaction) RcptBatch(ctx context.Context, rcpts []relay.Recipient) []error {
	for tx.lost == nil {
		b, ok := tx.Transaction.(relay.RcptBatcher)
		if !ok {
			break
		}
		errs := b.RcptBatch(ctx, rcpts)
		if tx.settled || len(errs) == 0 || !tx.closes(errs[0]) {
			tx.settled = true
			return errs
		}
		_ = tx.move(ctx) // kept in lost
	}
	errs := make([]error, len(rcpts))
	for i := range rcpts {
		errs[i] = tx.Rcpt(ctx, rcpts[i].To, &rcpts[i].Opts)
	}
	return errs
}

// Send implements relay.SingleFlight: what the chosen way can send as one flight
// goes as one. A way that turned out to be closed is left for the next one if that
// was the answer to a command in front of the message, and what was read of the
// message by then can be given again.
func (t *Transport) Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	tx := &transaction{t: t, acct: a, from: from, opts: opts}
	tx.rest, tx.not = t.open(a, from, opts)
	b := &replay{src: body}
	for len(tx.rest) > 0 {
		tx.way, tx.rest = tx.rest[0], tx.rest[1:]
		reply, info, err := relay.Send(ctx, tx.way.Transport, a, from, opts, to, b)
		if !tx.closes(err) || !info.Refused || !b.rewind() {
			return reply, info, err
		}
	}
	return relay.Reply{}, relay.Info{Upstream: t.name, Refused: true}, refusal(tx.not)
}

// maxReplay is how much of a message is kept for the next way: a transport that
// sends as one flight reads that much before it needs a connection.
const maxReplay = 256 << 10

// replay is a body whose beginning can be given again.
type replay struct {
	src  io.Reader
	kept []byte
	at   int
	err  error // of src, for good
	over bool  // more was read than is kept
}

// Read implements io.Reader.
func (r *replay) Read(p []byte) (n int, err error) {
	switch {
	case !r.over && r.at < len(r.kept):
		n = copy(p, r.kept[r.at:])
		r.at += n
		return n, nil
	case r.err != nil:
		return 0, r.err
	}
	n, r.err = r.src.Read(p)
	switch {
	case r.over:
	case len(r.kept)+n > maxReplay:
		r.over, r.kept = true, nil
	default:
		r.kept = append(r.kept, p[:n]...)
		r.at = len(r.kept)
	}
	return n, r.err
}

// Watch implements relay.Watched.
func (r *replay) Watch(h relay.Holder) { relay.Watch(r.src, h) }

// rewind begins anew, and reports whether that is possible.
func (r *replay) rewind() bool {
	r.at = 0
	return !r.over
}

// Data implements relay.Transaction.
func (tx *transaction) Data(ctx context.Context, body io.Reader) (relay.Reply, error) {
	if tx.lost != nil {
		return relay.Reply{}, tx.lost
	}
	return tx.Transaction.Data(ctx, body)
}

// Wanted implements relay.Holder.
func (tx *transaction) Wanted() bool {
	h, ok := tx.Transaction.(relay.Holder)
	return ok && tx.lost == nil && h.Wanted()
}

// Describe implements relay.Describer.
func (tx *transaction) Describe() relay.Info {
	if d, ok := tx.Transaction.(relay.Describer); ok {
		return d.Describe()
	}
	return relay.Info{Upstream: tx.way.name}
}

// Interface guards
var (
	_ relay.Transaction = (*transaction)(nil)
	_ relay.RcptBatcher = (*transaction)(nil)
	_ relay.Describer   = (*transaction)(nil)
	_ relay.Holder      = (*transaction)(nil)
)
