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
	"context"
	"errors"
	"io"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient/dots"
)

// TransferData sends the body with DATA (RFC 5321 section 4.1.1.4), whatever the
// provider announces. A body that doesn't
// end in CRLF gets one: the end of data can't be written otherwise.
func (c *Conn) TransferData(ctx context.Context, buf *Body, eof bool, body io.Reader) Outcome {
	if err := c.armContext(ctx, c.cfg.DataTimeout); err != nil {
		return Lost(false)
	}
	st := dots.New()
	out := newBody(min(buf.class+1, smallClass))
	defer func() { out.Free() }()
	wire := out.b[:0]

	// The first part is encoded before DATA is said: if it can't travel this
	// way, nothing has happened yet.
	wire, ok := st.Append(wire, buf.Bytes())
	if ok && eof {
		wire, ok = st.End(wire)
	}
	if !ok {
		return Outcome{Err: relay.ReplyBareNewline, Sound: true}
	}
	tail := c.tail()

	if !c.Silent() {
		out := c.unasked()
		out.Untouched = true
		return out
	}
	code, err := c.exchange([]byte("DATA\r\n"))
	switch {
	case err != nil:
		out := lostIn(err)
		out.Untouched = !timedOut(err) && !errors.Is(err, relay.ErrReply)
		return out
	case code == 421:
		return Outcome{Reply: c.Said(), Untouched: true}
	case code >= 400:
		r := c.Said()
		if forgotten(r) {
			return Outcome{Reply: forgottenReply(r), Untouched: true}
		}
		return Outcome{Reply: r, Sound: true}
	case code != 354:
		return Outcome{Err: relay.ReplyUpstreamProtocol}
	}
	for {
		if err := c.armContext(ctx, c.cfg.DataTimeout); err != nil {
			return Lost(false)
		}
		if eof && tail {
			wire = append(wire, reset...)
		}
		say := c.sayIfSilent
		if eof {
			say = c.say
		}
		silent, left, err := say(wire)
		if !silent {
			return c.lastWords() // what the provider refuses amid the body
		}
		if out, failed := c.endSent(true, left, err, eof && tail); failed {
			out.Untouched = false // the provider has said 354
			return out
		}
		if eof {
			out := c.finalReply(tail, false)
			out.Untouched = false // the stuffed body is not kept, nor is it worth a second time
			return out
		}
		buf.n = 0
		if eof, err = buf.fill(body); err != nil {
			// Without the final dot the message doesn't exist.
			return Outcome{Err: &BodyError{err}}
		}
		if wire, ok = st.Append(wire[:0], buf.Bytes()); ok && eof {
			wire, ok = st.End(wire)
		}
		if !ok {
			return Outcome{Err: relay.ReplyBareNewline}
		}
	}
}

func lostIn(err error) Outcome {
	if fatal := LostReply(err); fatal != relay.ReplyUpstreamLost {
		return Outcome{Err: fatal}
	}
	return Lost(false)
}
