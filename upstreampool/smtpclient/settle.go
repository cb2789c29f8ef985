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
	"errors"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient/extensions"
)

// A reply too many can come when the end of a message has left and is not yet
// answered. It stands where the message's reply is expected, and the provider's
// own follows when it has looked at the message. Only the count of replies tells
// one from the other, and a count needs an end: RSET leaves behind the message in
// the same write, which RFC 2920 section 3.1 allows, and the message is confirmed
// when RSET is answered too. Where nothing can be sent behind a message, without
// PIPELINING, a command of its own ends the count, for one round trip.

// reset is the command behind a message.
const reset = "RSET\r\n"

// resetTimeout is how long its reply is awaited behind that to the message,
// before EHLO asks whether the provider has heard it.
const resetTimeout = 2 * time.Second

// maxUnasked bounds the replies that are read to find EHLO's.
const maxUnasked = 16

// sayEnd writes the end of a message whose reply is listened to next, if nothing has
// come that was not asked for. It reports whether it has failed, and what is known
// of the message then: where nothing but the RSET behind it is missing, the
// provider may have it whole.
func (c *Conn) sayEnd(b []byte, tail bool) (out Outcome, failed bool) {
	silent, left, err := c.say(b)
	return c.endSent(silent, left, err, tail)
}

// sendEnd is sayEnd for a part of a message whose reply is not listened to yet.
func (c *Conn) sendEnd(b []byte, tail bool) (out Outcome, failed bool) {
	silent, left, err := c.sayIfSilent(b)
	return c.endSent(silent, left, err, tail)
}

func (c *Conn) endSent(silent bool, left int, err error, tail bool) (out Outcome, failed bool) {
	if !silent {
		out = c.unasked()
		out.Untouched = true
		return out, true
	}
	if err == nil {
		return Outcome{}, false
	}
	out = c.lastWords()
	whole := tail && left <= len(reset)
	if whole && out.Reply == nil {
		out = Lost(true)
	}
	out.Untouched = !whole && (out.Reply == nil || out.Reply.Code == 421)
	return out, true
}

// settlement is what the reply to RSET says of the one before it.
type settlement int

const (
	settled    settlement = iota // it answers the message
	ended                        // the connection is over, and nothing contradicts it
	outOfOrder                   // it may answer something else
)

// tail reports whether RSET goes out behind a message.
func (c *Conn) tail() bool { return c.caps.Pipelining && !c.cfg.Learned.NoTail.Load() }

// settle reads the reply to the RSET that was sent behind a message, which got a
// good reply or not.
func (c *Conn) settle(good bool) settlement {
	if !c.Leftover() && c.arm(min(resetTimeout, c.cfg.CommandTimeout)) != nil {
		return c.broken()
	}
	code, err := c.replies.Read()
	switch {
	case err == nil && code == 250:
		doubtful := c.doubtful()
		if !doubtful && !c.amid() {
			c.needReset = false
			return settled
		}
		if good || !doubtful {
			return c.ask(good)
		}
		return outOfOrder
	case err == nil && code == 421:
		return ended
	case err == nil:
		if unknownVerb(code) {
			c.cfg.Learned.NoTail.Store(true) // perhaps it was RSET's: not again
		}
		c.cfg.Learned.Stutters.Store(true)
		return outOfOrder
	case good && timedOut(err):
		s, lost := c.count(good)
		if s == settled && lost && !c.cfg.Learned.Stutters.Load() {
			c.cfg.Learned.NoTail.Store(true) // RSET was lost on the way
		}
		return s
	case errors.Is(err, relay.ErrReply):
		return outOfOrder
	}
	return c.broken()
}

// settleRefusal is settle where a refusal has to be certain too: one that answers
// nothing, the message's good reply in the place of RSET's and RSET's still under way
// look like a refusal and RSET's.
func (c *Conn) settleRefusal(good bool) settlement {
	s := c.settle(good)
	if s == settled && !good {
		return c.ask(good)
	}
	return s
}

// settleApart ends the count of replies with a command that nothing was sent
// with. Behind a good reply RSET will do: whichever of two good ones answers the
// message, it was accepted. A refusal is told from a good reply only by EHLO.
func (c *Conn) settleApart(good bool) settlement {
	if !good || c.doubtful() || c.amid() || c.cfg.Learned.Stutters.Load() {
		return c.ask(good)
	}
	if c.arm(c.cfg.CommandTimeout) != nil || c.write([]byte(reset)) != nil {
		return c.broken()
	}
	return c.settle(good)
}

// ask finds out by EHLO, whose reply is like no other, what the replies before it
// are worth: if all of them are good, the message's is, whichever it was. None may
// stand between a refusal and EHLO's.
func (c *Conn) ask(good bool) settlement {
	s, _ := c.count(good)
	return s
}

// count is ask; first: nothing came before EHLO's reply.
func (c *Conn) count(good bool) (s settlement, first bool) {
	if c.arm(c.cfg.CommandTimeout) != nil || c.write([]byte("EHLO "+c.helloName()+"\r\n")) != nil {
		return c.broken(), false
	}
	for n := range maxUnasked {
		code, err := c.replies.Read()
		switch {
		case err != nil && errors.Is(err, relay.ErrReply), err == nil && code/100 != 2 && code != 421:
			return outOfOrder, false
		case err != nil:
			return c.broken(), false
		case code == 421:
			return ended, false
		case !c.introduced() && !good:
			c.cfg.Learned.Stutters.Store(true)
			return outOfOrder, false
		case !c.introduced():
			continue
		}
		if c.doubtful() {
			return ended, false
		}
		c.needReset = false
		return settled, n == 0
	}
	return outOfOrder, false
}

// introduced reports whether the reply is one to EHLO.
func (c *Conn) introduced() bool {
	return c.announced() != extensions.Set{}
}

// broken is what a connection that ended is worth: where replies have come that
// answer nothing, the last of them is not believed.
func (c *Conn) broken() settlement {
	if c.cfg.Learned.Stutters.Load() {
		return outOfOrder
	}
	return ended
}
