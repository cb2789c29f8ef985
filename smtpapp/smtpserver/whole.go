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

package smtpserver

import "github.com/caddymail/mailgateway/relay"

// maxWhole bounds a message that waits for nothing in between. What is larger
// takes longer than a round trip, and its client can hold up what it has taken.
const maxWhole = 256 << 10

// chunkFollows takes a `BDAT n LAST` that has arrived behind a recipient
// (RFC 3030 section 4.2, RFC 2920): its client sends the message whatever the
// answer to the recipient is.
func (c *Conn) chunkFollows() (size int64, ok bool) {
	verb, args, n := c.peekCommand()
	if verb != "BDAT" {
		return 0, false
	}
	size, last, ok := parseBdat(args)
	if !ok || !last || size > maxWhole {
		return 0, false
	}
	c.w.consume(n)
	return size, true
}

// whole sends a message with its only recipient, and answers both commands.
func (c *Conn) whole(rcpt *relay.Recipient, size int64) {
	c.startBody(c.nextChunk)
	c.body.setChunk(size, true)
	c.tx.res.Tried = 1
	refused, reply, err := c.s.Whole(rcpt, &c.body)
	if refused == nil {
		c.tx.res.Accepted = 1
		c.ok(relay.ReplyRecipientOK)
		c.delivered(reply, err)
		return
	}
	left := c.body.drain()
	c.body.stop()
	c.tx.res.LastRefusal = AsReply(refused)
	c.answer(refused)
	switch {
	case c.end != "":
	case left != nil:
		c.bodyFailed(left)
	default:
		c.refuse(CauseBadSequence, relay.ReplyNoRecipients, "BDAT")
	}
}
