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

package mailapi

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/envelope"
)

// transaction is one message. It owns its place until it ends.
type transaction struct {
	u     *Upstream
	acct  *accounts.Account
	place *place
	rcpts []string
	done  bool // it takes nothing more
	left  bool // its place is given back
	info  relay.Info
}

// Rcpt implements relay.Transaction. The API answers no recipient by itself: what
// can be checked is the form of the address and the limit.
func (tx *transaction) Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error {
	if tx.done {
		return relay.ReplyBadSequence
	}
	if opts != nil && !usual(opts.Notify) {
		return relay.ReplyAPIDSN
	}
	addr, err := envelope.Parse(to)
	switch {
	case tx.u.MaxRecipients > 0 && len(tx.rcpts) >= tx.u.MaxRecipients:
		// The client sends the rest in a message of its own; the provider
		// would refuse the whole.
		return relay.ReplyTooManyRcpts
	case err != nil:
		return relay.ReplyBadRecipient
	case strings.ContainsFunc(addr, func(r rune) bool { return r >= 0x80 }):
		return relay.ReplyNoSMTPUTF8
	}
	if reply := tx.place.recipient(ctx); reply != nil {
		return reply
	}
	tx.rcpts = append(tx.rcpts, addr)
	return nil
}

// usual reports whether NOTIFY asks for what happens without it (RFC 3461 section
// 4.1). ORCPT asks for nothing by itself: it is a word for a report, and Postfix says
// it of every recipient.
func usual(notify []smtp.DSNNotify) bool {
	for _, n := range notify {
		if n != smtp.DSNNotifyFailure && n != smtp.DSNNotifyDelayed {
			return false
		}
	}
	return len(notify) == 0 || slices.Contains(notify, smtp.DSNNotifyFailure)
}

// Data implements relay.Transaction.
func (tx *transaction) Data(ctx context.Context, body io.Reader) (relay.Reply, error) {
	switch {
	case tx.done:
		return relay.Reply{}, relay.ReplyBadSequence
	case len(tx.rcpts) == 0:
		return relay.Reply{}, relay.ReplyNoRecipients
	}
	tx.done = true
	start := time.Now()
	reply, out := tx.send(ctx, body)
	tx.info.Data = time.Since(start)
	tx.leave(out)
	if !reply.Positive() {
		return relay.Reply{}, reply
	}
	return *reply, nil
}

// send makes the message fit its envelope and posts it.
func (tx *transaction) send(ctx context.Context, body io.Reader) (*relay.Reply, Outcome) {
	b, reply := tx.u.Prepare(tx.acct, tx.rcpts, &bounded{r: body, left: tx.u.MaxSize, limit: tx.u.MaxSize})
	if reply != nil {
		return reply, Outcome{}
	}
	defer b.close()
	return tx.u.send(ctx, tx.place, tx.acct, b, &tx.info)
}

// Abort implements relay.Transaction.
func (tx *transaction) Abort() {
	if !tx.done {
		tx.done = true
		tx.leave(Outcome{})
	}
}

func (tx *transaction) leave(out Outcome) {
	tx.left = true
	tx.place.leave(out)
}

// Describe implements relay.Describer.
func (tx *transaction) Describe() relay.Info { return tx.info }

// Wanted implements relay.Holder: others wait for the mailbox's place or for its
// connection.
func (tx *transaction) Wanted() bool { return !tx.left && tx.place.wanted() }

// Interface guards
var (
	_ relay.Transaction = (*transaction)(nil)
	_ relay.Describer   = (*transaction)(nil)
	_ relay.Holder      = (*transaction)(nil)
)
