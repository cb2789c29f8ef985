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
	"context"
	"errors"
	"io"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/delivery"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// transaction is a fresh message: on its way to the provider as if there were no
// spool, until it meets something temporary. From then on it is kept as a whole,
// and the provider has got nothing of it: a recipient that it accepted is no
// message yet.
type transaction struct {
	t     *Transport
	e     *engine
	acct  *accounts.Account
	from  string
	opts  smtp.MailOptions
	rcpts []relay.Recipient
	with  string // how it came in

	tx   relay.Transaction // nil: it goes to the spool
	why  *relay.Reply      // what it met
	id   string            // once it is kept
	info relay.Info
}

// Begin implements relay.Upstream.
func (t *Transport) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	e, err := t.ready(ctx)
	if err != nil {
		return nil, err
	}
	if t.AlwaysKeep {
		return t.beginKept(ctx, a, from, opts)
	}
	tr := t.transaction(ctx, e, a, from, opts)
	tx, err := t.begin(ctx, a, from, opts)
	if err == nil {
		tr.tx = tx
		return tr, nil
	}
	if reply := tr.fallBack(ctx, err); reply != nil {
		return nil, reply
	}
	return tr, nil
}

func (t *Transport) transaction(ctx context.Context, e *engine, a *accounts.Account, from string, opts *smtp.MailOptions) *transaction {
	tr := &transaction{t: t, e: e, acct: a, from: from, with: relay.Protocol(ctx)}
	if opts != nil {
		tr.opts = *opts
	}
	return tr
}

// beginKept begins a message whose client does not wait for the provider.
func (t *Transport) beginKept(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (*transaction, error) {
	e, err := t.ready(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.mayKeep(); err != nil {
		return nil, replyNotKept(err, nil)
	}
	return t.transaction(ctx, e, a, from, opts), nil
}

// Send implements relay.SingleFlight: what the upstream behind can send as one
// flight goes as one here too.
func (t *Transport) Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	next, _ := t.behind(a)
	sf, ok := next.(relay.SingleFlight)
	if t.AlwaysKeep || !ok {
		reply, info, err := relay.SendInTurn(ctx, t, a, from, opts, to, body)
		info.Upstream = cmp.Or(info.Upstream, t.name)
		return reply, info, err
	}
	e, err := t.ready(ctx)
	if err != nil {
		return relay.Reply{}, relay.Info{Upstream: t.name, Refused: true}, err
	}
	tr := t.transaction(ctx, e, a, from, opts)
	tr.rcpts = []relay.Recipient{to}
	env := tr.envelope()
	k := store.NewKeeper(e.store, env, body)
	defer k.Drop()
	// The wait alone is bounded: ctx is the delivery's as well.
	reply, info, err := sf.Send(relay.WithMaxWait(ctx, time.Duration(t.MaxWait)), a, from, opts, to, keptBody{k, body})
	tr.info = info
	if err == nil {
		return reply, info, nil
	}
	reply, err = tr.afterRefusal(ctx, k, env, reply, err)
	return reply, tr.Describe(), err
}

// keptBody is a client's body that is kept while it is read.
type keptBody struct {
	*store.Keeper
	src io.Reader
}

// Watch implements relay.Watched.
func (b keptBody) Watch(h relay.Holder) { relay.Watch(b.src, h) }

// begin opens the transaction behind the spool, which gets only so long.
func (t *Transport) begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	wait := time.Duration(t.MaxWait)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	next, ok := t.behind(a)
	if !ok {
		return nil, relay.ReplyNoUpstream
	}
	return next.Begin(ctx, a, from, opts)
}

// fallBack goes over to the spool if what came is temporary and it can be kept;
// else it returns what the client hears.
func (tr *transaction) fallBack(ctx context.Context, err error) error {
	reply := delivery.ReplyOf(err)
	if !reply.Temporary() || ctx.Err() != nil {
		return err
	}
	if full := tr.e.mayKeep(); full != nil {
		return replyNotKept(full, err)
	}
	tr.describe()
	if tr.tx != nil {
		tr.tx.Abort()
		tr.tx = nil
	}
	tr.why = reply
	return nil
}

// replyNotKept is what the client hears when a message cannot be kept. What the
// provider said is told if the spool is not at fault.
func replyNotKept(why, said error) error {
	switch {
	case errors.Is(why, store.ErrFull), disk.IsFull(why):
		return relay.ReplySpoolFull
	case (errors.Is(why, store.ErrAway) || errors.Is(why, disk.ErrMoved) || errors.Is(why, errDraining)) && said != nil:
		return said
	}
	return relay.ReplySpoolFailed
}

// Rcpt implements relay.Transaction.
func (tr *transaction) Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error {
	one := relay.Recipient{To: to}
	if opts != nil {
		one.Opts = *opts
	}
	if tr.tx != nil {
		if err := tr.tx.Rcpt(ctx, to, opts); err != nil {
			if reply := tr.fallBack(ctx, err); reply != nil {
				return reply
			}
		}
	}
	tr.rcpts = append(tr.rcpts, one)
	return nil
}

// RcptBatch implements relay.RcptBatcher.
func (tr *transaction) RcptBatch(ctx context.Context, rcpts []relay.Recipient) []error {
	errs := make([]error, len(rcpts))
	if b, ok := tr.tx.(relay.RcptBatcher); ok {
		errs = b.RcptBatch(ctx, rcpts)
		for i := range errs {
			if errs[i] == nil || tr.tx == nil {
				continue
			}
			if reply := tr.fallBack(ctx, errs[i]); reply != nil {
				errs[i] = reply
			}
		}
		for i := range errs {
			if tr.tx == nil && errs[i] != nil && delivery.ReplyOf(errs[i]).Temporary() {
				errs[i] = nil
			}
			if errs[i] == nil {
				tr.rcpts = append(tr.rcpts, rcpts[i])
			}
		}
		return errs
	}
	for i := range rcpts {
		errs[i] = tr.Rcpt(ctx, rcpts[i].To, &rcpts[i].Opts)
	}
	return errs
}

// Data implements relay.Transaction.
func (tr *transaction) Data(ctx context.Context, src io.Reader) (relay.Reply, error) {
	env := tr.envelope()
	k := store.NewKeeper(tr.e.store, env, src)
	defer k.Drop()
	if tr.tx != nil {
		reply, err := tr.tx.Data(ctx, k)
		tr.describe()
		if err == nil {
			return reply, nil
		}
		return tr.afterRefusal(ctx, k, env, reply, err)
	}
	return tr.spool(k, env)
}

// afterRefusal keeps a message that the upstream behind did not take, if that may
// be otherwise later.
func (tr *transaction) afterRefusal(ctx context.Context, k *store.Keeper, env *record.Envelope, reply relay.Reply, err error) (relay.Reply, error) {
	if k.ReadErr != nil {
		return reply, err // the client's fault: there is no message
	}
	// A connection that was lost after the end of data is among these:
	// the client would hear 451 and send again, and so does the spool.
	if !delivery.ReplyOf(err).Temporary() || ctx.Err() != nil {
		return reply, err
	}
	tr.why = delivery.ReplyOf(err)
	return tr.spool(k, env)
}

// spool makes the message durable, and answers for it.
func (tr *transaction) spool(k *store.Keeper, env *record.Envelope) (relay.Reply, error) {
	if err := k.Rest(); err != nil {
		return relay.Reply{}, err
	}
	if err := tr.keep(k, env); err != nil {
		return relay.Reply{}, err
	}
	tr.id, tr.info.Spooled = env.ID, env.ID
	return *relay.ReplySpooled(env.ID), nil
}

func (tr *transaction) envelope() *record.Envelope {
	now := time.Now()
	return &record.Envelope{
		ID: store.NewID(now), Account: tr.acct.Name, Mailbox: mailboxOf(tr.acct), From: tr.from, Opts: tr.opts, Rcpts: tr.rcpts,
		Created: now, Hostname: tr.t.hostname(), With: tr.with, First: now.Add(delivery.Delay(1, 0)), Clock: tr.e.store.Clock(),
	}
}

// keep makes the message durable and hands it to the queue.
func (tr *transaction) keep(k *store.Keeper, env *record.Envelope) error {
	words := ""
	var said error
	if tr.why == nil {
		env.First = env.Created
	} else {
		words, said = record.Words(tr.why), tr.why
		env.First = env.Created.Add(delivery.Delay(1, tr.why.After))
		if tr.why.After > 0 {
			env.Asked = env.Created.Add(tr.why.After)
		}
	}
	env.Reply = words
	if err := tr.e.keep(k); err != nil {
		if c := tr.t.logger.Check(zap.ErrorLevel, "message not spooled"); c != nil {
			c.Write(zap.String("id", env.ID), zap.String("account", env.Account), zap.Error(err), zap.String("reply", words))
		}
		return replyNotKept(err, said)
	}
	tr.e.count("accepted")
	if c := tr.t.logger.Check(zap.InfoLevel, "message spooled"); c != nil {
		c.Write(zap.String("id", env.ID), zap.String("account", env.Account),
			zap.Int("recipients", len(env.Rcpts)), zap.Int64("size", k.Size), zap.String("reply", words))
	}
	return nil
}

// Abort implements relay.Transaction.
func (tr *transaction) Abort() {
	if tr.tx != nil {
		tr.tx.Abort()
	}
}

// describe takes over what the transaction behind knows of itself.
func (tr *transaction) describe() {
	if d, ok := tr.tx.(relay.Describer); ok {
		tr.info = d.Describe()
	}
}

// Describe implements relay.Describer.
func (tr *transaction) Describe() relay.Info {
	if tr.tx != nil && tr.id == "" {
		tr.describe()
	}
	if tr.info.Upstream == "" {
		tr.info.Upstream = tr.t.name
	}
	return tr.info
}

// Wanted implements relay.Holder: what the transaction behind holds.
func (tr *transaction) Wanted() bool {
	h, ok := tr.tx.(relay.Holder)
	return ok && h.Wanted()
}

// Interface guards
var (
	_ relay.Transaction = (*transaction)(nil)
	_ relay.RcptBatcher = (*transaction)(nil)
	_ relay.Describer   = (*transaction)(nil)
	_ relay.Holder      = (*transaction)(nil)
)
