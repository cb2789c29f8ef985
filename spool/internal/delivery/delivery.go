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

// Package delivery is one attempt to give a kept message to an upstream, and what came
// of it for each recipient. It notes nothing and decides nothing: when to try, and what
// follows, is the spool's.
package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
)

// Result is what came of one attempt.
type Result struct {
	Sent, Refused []int // recipients, by their place in the envelope
	Replies       map[int]string
	Reply         *relay.Reply // the last that was negative, or the provider's 250
	Account       bool         // it was the account's trouble, not the message's
	Interrupted   bool         // by the end of the process
	Peer          string       // it was handed over to, or was to be
	Damaged       error        // the file
	Took          time.Duration
}

// Temporary reports whether no recipient has a result.
func (d *Result) Temporary() bool { return len(d.Sent) == 0 && len(d.Refused) == 0 }

// Deliver sends a message to the recipients that are not settled. Providers that
// know mailboxes only refuse the null sender, which a report should have (RFC
// 3464 section 2): it goes out as the mailbox then.
func Deliver(ctx context.Context, next relay.Upstream, acct *accounts.Account, env *record.Envelope, settled map[int]bool, rec *record.File) Result {
	d := deliverFrom(ctx, next, acct, env, settled, env.From, rec)
	if env.Fallback != "" && len(d.Refused) > 0 && len(d.Sent) == 0 && d.Damaged == nil {
		return deliverFrom(ctx, next, acct, env, settled, env.Fallback, rec)
	}
	return d
}

func deliverFrom(ctx context.Context, next relay.Upstream, acct *accounts.Account, env *record.Envelope, settled map[int]bool, from string, rec *record.File) (d Result) {
	start := time.Now()
	defer func() { d.Took = time.Since(start) }()
	d.Replies = make(map[int]string)
	opts := env.Opts
	head := env.Received()
	if opts.Size > 0 {
		opts.Size += int64(len(head))
	}
	tx, err := next.Begin(ctx, acct, from, &opts)
	if err != nil {
		for i := range env.Rcpts {
			if !settled[i] {
				d.refuse(i, ReplyOf(err))
			}
		}
		d.Account = d.Temporary()
		return d
	}
	defer tx.Abort()
	var taken []int
	for i := range env.Rcpts {
		if settled[i] {
			continue
		}
		err := tx.Rcpt(ctx, env.Rcpts[i].To, &env.Rcpts[i].Opts)
		if err == nil {
			taken = append(taken, i)
			continue
		}
		d.refuse(i, ReplyOf(err))
	}
	if len(taken) == 0 {
		return d
	}
	b := rec.Body(head)
	reply, err := tx.Data(ctx, b)
	if d.Damaged = b.Damaged(); d.Damaged != nil {
		return d
	}
	if err != nil {
		for _, i := range taken {
			d.refuse(i, ReplyOf(err))
		}
		return d
	}
	d.Reply = &reply
	d.Sent = taken
	return d
}

func (d *Result) refuse(i int, r *relay.Reply) {
	d.Reply = r
	d.Replies[i] = record.Words(r)
	if !r.Temporary() {
		d.Refused = append(d.Refused, i)
	}
}

// HandedOver makes of what a peer said what is noted of it. A peer that refuses
// settles nothing: it is no provider, and the message is still ours.
func (d *Result) HandedOver() {
	d.Refused = nil
	d.Replies = make(map[int]string)
}

// ReplyOf is the reply that an error is, or wraps.
func ReplyOf(err error) *relay.Reply {
	if r, ok := errors.AsType[*relay.Reply](err); ok {
		return r
	}
	return relay.ReplyInternal
}
