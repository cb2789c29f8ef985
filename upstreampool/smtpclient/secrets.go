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

package smtpclient

import (
	"github.com/caddymail/mailgateway/internal/redact"
	"github.com/caddymail/mailgateway/relay"
)

// A provider's reply can quote what it could not parse: the access token, or
// the blob that it stood in. Whatever is kept, shown or passed on of a
// connection's replies goes through here first.

// Said is the last reply, without the connection's secrets. In a good reply,
// which comes with each message, only a long quotation is looked for.
func (c *Conn) Said() *relay.Reply {
	r := c.replies.Reply()
	for i, l := range r.Lines {
		if !r.Positive() || len(l) >= redact.Long && redact.MayQuote(l, c.login.Token, c.login.Secret) {
			r.Lines[i] = c.redact(l)
		}
	}
	return r
}

func (c *Conn) redact(text string) string {
	return redact.Text(text, c.login.Token, c.login.Secret)
}
