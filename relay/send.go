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

package relay

import (
	"cmp"
	"context"
	"io"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
)

// Send sends a message to one recipient. An upstream that cannot do it in one
// flight gets the same message in the ordinary way.
func Send(ctx context.Context, u Upstream, a *accounts.Account, from string, opts *smtp.MailOptions, to Recipient, body io.Reader) (Reply, Info, error) {
	if sf, ok := u.(SingleFlight); ok {
		return sf.Send(ctx, a, from, opts, to, body)
	}
	reply, info, err := SendInTurn(ctx, u, a, from, opts, to, body)
	info.Upstream = cmp.Or(info.Upstream, a.Upstream)
	return reply, info, err
}

// SendInTurn sends a message to one recipient in the ordinary way. The Info names no
// upstream if the transaction did not begin.
func SendInTurn(ctx context.Context, u Upstream, a *accounts.Account, from string, opts *smtp.MailOptions, to Recipient, body io.Reader) (reply Reply, info Info, err error) {
	tx, err := u.Begin(ctx, a, from, opts)
	if err != nil {
		return Reply{}, Info{Refused: true}, err
	}
	defer tx.Abort()
	err = tx.Rcpt(ctx, to.To, &to.Opts)
	refused := err != nil
	if !refused {
		if h, ok := tx.(Holder); ok {
			Watch(body, h)
		}
		reply, err = tx.Data(ctx, body)
	}
	if d, ok := tx.(Describer); ok {
		info = d.Describe()
	}
	info.Refused = refused
	return reply, info, err
}
