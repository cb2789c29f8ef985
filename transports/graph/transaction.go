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
	"io"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// foreign is what becomes of a From field that is not the mailbox.
const foreign = "Exchange replaces an alias and refuses others' addresses"

// prepare makes the message fit its envelope, and reads it to its end: Graph wants
// to know its length.
func (t *Transport) prepare(a *accounts.Account, rcpts []string, body io.Reader) (*mailapi.Body, *relay.Reply) {
	whole, reply := t.Fit(a, rcpts, body, t.Rewrite, foreign)
	if reply != nil {
		return nil, reply
	}
	b, err := mailapi.Base64(whole)
	if err != nil {
		return nil, mailapi.Misfit(err)
	}
	return b, nil
}
