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

package graph

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/envelope"
)

// transaction is one message. It owns its place until it ends.
type transaction struct {
	t     *Transport
	acct  *accounts.Account
	place *place
	rcpts []string
	done  bool
	info  relay.Info
}

// Rcpt implements relay.Transaction. Graph answers no recipient by itself: what
// can be checked is the form of the address and the limit.
func (tx *transaction) Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error {
	if tx.done {
		return relay.ReplyBadSequence
	}
	if opts != nil && (len(opts.Notify) > 0 || opts.OriginalRecipient != "") {
		return relay.ReplyAPIDSN
	}
	addr, err := envelope.Parse(to)
	switch {
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
	tx.place.leave(out)
	if !reply.Positive() {
		return relay.Reply{}, reply
	}
	return *reply, nil
}

// send reads the message, makes it fit its envelope and posts it.
func (tx *transaction) send(ctx context.Context, body io.Reader) (*relay.Reply, outcome) {
	msg, err := io.ReadAll(io.LimitReader(body, tx.t.MaxSize+1))
	switch {
	case err != nil:
		if r, ok := errors.AsType[*relay.Reply](err); ok {
			return r, outcome{}
		}
		return relay.ReplyInternal, outcome{}
	case int64(len(msg)) > tx.t.MaxSize:
		return relay.ReplyAPITooBig(tx.t.MaxSize), outcome{}
	}
	fit, err := envelope.Fit(msg, tx.rcpts, tx.t.Rewrite)
	if err != nil {
		return relay.ReplyAPIHeader(err.Error()), outcome{}
	}
	tx.notice(fit)
	mime := encode(fit)
	reply, out := tx.t.client.send(ctx, tx.acct, mime, &tx.info)
	return reply, out
}

// notice says in the log what the provider or the gateway changes about the
// message without telling the client.
func (tx *transaction) notice(fit *envelope.Message) {
	if len(fit.Rewritten) > 0 {
		tx.t.logger.Info("recipients taken out of the header: the envelope does not name them",
			zap.String("upstream", tx.t.name), zap.String("account", tx.acct.Name), zap.Strings("recipients", fit.Rewritten))
	}
	for _, from := range fit.From {
		if !strings.EqualFold(from, tx.acct.Mailbox) {
			tx.t.logger.Info("the From field is not the mailbox: Exchange replaces an alias and refuses others' addresses",
				zap.String("upstream", tx.t.name), zap.String("account", tx.acct.Name), zap.String("from", from))
		}
	}
}

// encode is the request's body.
func encode(m *envelope.Message) []byte {
	var b bytes.Buffer
	b.Grow(base64.StdEncoding.EncodedLen(m.Len()))
	w := base64.NewEncoder(base64.StdEncoding, &b)
	_, _ = w.Write(m.Head)
	_, _ = w.Write(m.Rest)
	_ = w.Close()
	return b.Bytes()
}

// Abort implements relay.Transaction.
func (tx *transaction) Abort() {
	if !tx.done {
		tx.done = true
		tx.place.leave(outcome{})
	}
}

// Describe implements relay.Describer.
func (tx *transaction) Describe() relay.Info { return tx.info }

// Interface guards
var (
	_ relay.Transaction = (*transaction)(nil)
	_ relay.Describer   = (*transaction)(nil)
)
