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
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/caddymail/mailgateway/relay"
)

// TransferData sends the body with DATA (RFC 5321 section 4.1.1.4), whatever the
// provider announces. A body that doesn't
// end in CRLF gets one: the end of data can't be written otherwise.
func (c *Conn) TransferData(ctx context.Context, buf *Body, eof bool, body io.Reader) Outcome {
	if err := c.armContext(ctx, c.cfg.DataTimeout); err != nil {
		return Lost(false)
	}
	st := newStuffer()
	out := newBody(min(buf.class+1, len(bodySizes)-1))
	defer func() { out.Free() }()
	wire := out.b[:0]

	// The first part is encoded before DATA is said: if it can't travel this
	// way, nothing has happened yet.
	wire, ok := st.append(wire, buf.Bytes())
	if ok && eof {
		wire, ok = st.end(wire)
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
		if wire, ok = st.append(wire[:0], buf.Bytes()); ok && eof {
			wire, ok = st.end(wire)
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

// stuffer doubles the dots at the beginning of lines (RFC 5321 section 4.5.2).
// Lines end with CRLF and with nothing else. A dot that stands alone between
// bare line ends would be the end of data to a lax server, and what follows it
// a command: such a body is refused.
type stuffer struct {
	p2, p1 byte // the last two octets
	lone   bool // they are a dot after a bare CR or LF
}

// newStuffer begins at the beginning of a line.
func newStuffer() stuffer { return stuffer{p2: '\r', p1: '\n'} }

func lineEnd(c byte) bool { return c == '\r' || c == '\n' }

// append encodes b at the end of dst, and reports whether b can be sent.
func (s *stuffer) append(dst, b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return dst, true
	}
	if s.lone && lineEnd(b[0]) {
		return dst, false
	}
	s.lone = false
	start := 0
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '.')
		if n < 0 {
			break
		}
		i += n
		p1, p2 := s.p1, s.p2
		switch {
		case i >= 2:
			p1, p2 = b[i-1], b[i-2]
		case i == 1:
			p1, p2 = b[0], s.p1
		}
		switch {
		case p1 == '\n' && p2 == '\r':
			dst = append(dst, b[start:i]...)
			dst = append(dst, '.')
			start = i
		case lineEnd(p1):
			if i+1 == len(b) {
				s.lone = true
			} else if lineEnd(b[i+1]) {
				return dst, false
			}
		}
	}
	dst = append(dst, b[start:]...)
	if len(b) >= 2 {
		s.p2, s.p1 = b[len(b)-2], b[len(b)-1]
	} else {
		s.p2, s.p1 = s.p1, b[0]
	}
	return dst, true
}

// end appends the end of data.
func (s *stuffer) end(dst []byte) ([]byte, bool) {
	if s.lone {
		return dst, false
	}
	if s.p2 != '\r' || s.p1 != '\n' {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...), true
}
