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

package upstreampool

import (
	"context"
	"io"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// send carries a message with one recipient.
func (u *upstream) send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	t, err := u.begin(ctx, a, from, opts)
	if err != nil {
		return relay.Reply{}, relay.Info{Upstream: u.name}, err
	}
	defer t.Abort()
	reply, err := sendIn(ctx, t, to, body)
	return reply, t.Describe(), err
}
