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
	"net"
	"os"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// SMTP numbers neither commands nor replies: the first reply after a command is
// taken for its answer (RFC 5321 section 4.2). A provider that answers twice, or
// a proxy out of step, shifts all that follows by one, and the next message, of
// another client maybe, is confirmed by the reply to its RCPT. So before each
// flight this file asks whether anything waits, and after it whether anything is
// left.

var errUnasked = errors.New("the provider sent a reply that answers nothing")

// probe is how long Silent listens to a connection that can't be asked. Tests
// change it.
var probe = time.Millisecond

// Silent reports whether the connection is open and nothing has come that was
// not asked for: to the reader, to the socket, or into TLS, which can hold a
// record that the socket no longer shows. It makes no round trip.
func (c *Conn) Silent() bool {
	if !c.silent() {
		return false
	}
	c.under = true
	return true
}

func (c *Conn) silent() bool {
	if c.Leftover() {
		return false
	}
	if c.ready.known() {
		if !c.early.holds() && c.ready.quiet() {
			if held := c.held(); held || !c.amid() {
				return !held
			}
		}
		if c.nc == c.tcp {
			return false
		}
		// TLS has words of its own, tickets after a handshake above all: it
		// has to read what came to say whether that is a reply.
	}
	// A record may come in pieces, and on a busy machine the time may be over before
	// anything is read.
	for end := time.Now().Add(earlyReply); ; {
		data, open := c.peek(time.Now().Add(probe))
		switch {
		case !open || data || c.early.holds():
			return false
		case !c.amid() && (!c.ready.known() || c.ready.quiet()):
			return true
		case time.Now().After(end):
			endures := c.amid() && (c.endures || c.under)
			if endures && (!c.ready.known() || c.ready.quiet()) {
				return c.goOn()
			}
			// The rest may be coming in this moment.
			if !endures || time.Now().After(end.Add(earlyReply)) {
				return false
			}
		}
	}
}

// Endure says whether flights leave although a part of a TLS record has come and
// stays one. What it turns out to hold came before them: if that is TLS's own, the
// replies behind it are theirs, and if it is a reply, none is believed. Otherwise
// the connection counts as broken, which is best for a message that can still go out
// on another. A new connection endures.
func (c *Conn) Endure(yes bool) { c.endures = yes }

// goOn notes that a flight leaves behind a part of a record.
func (c *Conn) goOn() bool {
	c.deaf.until = c.deaf.records.whole + 1
	return true
}

// begun reads the record to its end that had come in part when a flight left.
func (c *Conn) begun() error {
	switch data, open, err := c.finish(); {
	case data:
		c.cfg.Learned.Stutters.Store(true)
		return errUnasked
	case !open || c.amid():
		return err
	}
	return nil
}

// finish reads from TLS up to the end of the record that is due, or until the read
// deadline, and keeps what is not TLS's own for the next Read.
func (c *Conn) finish() (data, open bool, err error) {
	n, err := c.nc.Read(c.peekRoom[:])
	c.peeked = c.peekRoom[:n]
	if n > 0 || !c.amid() {
		c.deaf.until = 0
	}
	return n > 0, n > 0 || timedOut(err), err
}

// amid reports whether a part of a TLS record has come.
func (c *Conn) amid() bool { return c.nc != c.tcp && c.deaf.records.amid() }

// held reports whether TLS has something that it has not given yet.
func (c *Conn) held() bool {
	if c.nc == c.tcp || c.deaf.emptied() {
		return false
	}
	c.deaf.on = true
	n, err := c.nc.Read(c.peekRoom[:])
	c.deaf.on = false
	c.peeked = c.peekRoom[:n]
	if n > 0 || !timedOut(err) {
		return true
	}
	c.deaf.given = c.deaf.records.whole
	return false
}

// peek waits until by for one octet, and keeps it for the next Read.
func (c *Conn) peek(by time.Time) (data, open bool) {
	if c.tcp.SetReadDeadline(by) != nil {
		return false, false
	}
	if c.deaf != nil {
		c.deaf.until = 0
	}
	n, err := c.nc.Read(c.peekRoom[:])
	c.peeked = c.peekRoom[:n]
	if c.deadlines.setRead(c.tcp) != nil {
		return n > 0, false
	}
	return n > 0, n > 0 || timedOut(err)
}

// deafConn is the socket under TLS. While it is on, TLS gives what it holds and
// hears nothing new: the error is one that TLS does not remember.
type deafConn struct {
	net.Conn
	on      bool
	early   *heardAhead // of its Conn
	records records
	given   uint64 // records that TLS has given what they held of; some, maybe
	until   uint64 // nothing is heard beyond so many records; 0: no bound
	// gather is where records are put together that leave at once; nil at other
	// times. TLS writes each record by itself, which for a large body is a system
	// call for each 16 KiB.
	gather *[]byte
}

// Read implements net.Conn.
func (d *deafConn) Read(b []byte) (int, error) {
	if d.on {
		return 0, os.ErrDeadlineExceeded
	}
	if d.until > 0 {
		if d.records.whole >= d.until {
			return 0, os.ErrDeadlineExceeded
		}
		b = b[:min(len(b), d.records.due())]
	}
	if d.early.holds() {
		n, err := d.early.take(b)
		d.records.follow(b[:n])
		return n, err
	}
	n, err := d.Conn.Read(b)
	d.records.follow(b[:n])
	return n, err
}

// gave is told what a read from TLS has come to. What is less than was asked for is
// the rest of one record, so that the count is never too high; it is too low after
// records that hold nothing for us, until held has asked TLS itself.
func (d *deafConn) gave(n, room int) {
	if n > 0 && n < room {
		d.given++
	}
}

// emptied reports whether TLS is known to hold no record that is whole.
func (d *deafConn) emptied() bool { return d.given == d.records.whole }

// Leftover reports whether something waits that has been read already.
func (c *Conn) Leftover() bool { return c.br.Buffered() > 0 || len(c.peeked) > 0 }

// Unasked reports whether something waits that answers nothing, a goodbye among
// it.
func (c *Conn) Unasked() bool {
	if !c.Leftover() {
		return false
	}
	c.doubtful() // takes note
	return true
}

// doubtful reports whether more came with the replies of a flight than they
// answer, so that none of them can be assigned for certain. A goodbye may follow
// any reply (RFC 5321 section 3.8), and words of TLS's own. Of a part of a record
// that stays one it can't say; amid is true then, and the next flight has to ask.
func (c *Conn) doubtful() bool {
	if !c.Leftover() && !c.more() {
		return false
	}
	if c.arm(earlyReply) != nil {
		return true
	}
	if b, _ := c.br.Peek(3); string(b) == "421" {
		return false
	}
	c.cfg.Learned.Stutters.Store(true)
	return true
}

// more reports whether anything but TLS's own waits that the socket has given
// already, or follows within a moment where it has given the beginning of it.
func (c *Conn) more() bool {
	if c.nc == c.tcp {
		return c.early.holds()
	}
	if c.held() && len(c.peeked) > 0 {
		return true
	}
	for armed := false; c.early.holds() || c.amid(); {
		if !armed && c.arm(earlyReply) != nil {
			return true
		}
		armed = true
		c.goOn()
		switch data, open, _ := c.finish(); {
		case data:
			return true
		case !open:
			return c.amid() // else TLS has ended in good order
		case c.amid() && c.deadlines.over(c.tcp):
			c.deaf.until = 0
			return false
		}
	}
	return false
}

// outOfStep reports whether a good reply to a body, or to a part of it, speaks
// of an address (RFC 3463 section 3.2: X.1.X), as those to MAIL and RCPT do,
// where the ends of messages before it did not. It is the answer to a RCPT,
// behind a reply too many that came when the flight had left already.
func (c *Conn) outOfStep(r *relay.Reply) bool {
	return c.ended != 0 && c.ended != '1' && subject(r) == '1'
}

// merged reports whether a refusal with its two codes stands within the good reply
// that was read last, as it does behind a line that was cut off before its end.
func (c *Conn) merged() (found bool) {
	c.replies.Lines(func(l []byte) {
		for i := 1; i+7 <= len(l); i++ {
			if (l[i] == '4' || l[i] == '5') && digit(l[i+1]) && digit(l[i+2]) && (l[i+3] == ' ' || l[i+3] == '-') &&
				l[i+4] == l[i] && l[i+5] == '.' && digit(l[i+6]) {
				found = true
			}
		}
	})
	return found
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// subject is the second digit of a good reply's enhanced code, '-' without one.
func subject(r *relay.Reply) byte {
	if len(r.Lines) > 0 {
		if l := r.Lines[0]; len(l) >= 5 && l[0] == '2' && l[1] == '.' && l[3] == '.' {
			return l[2]
		}
	}
	return '-'
}

// unasked is the outcome when something has come before the end of the message
// left: the provider's goodbye, or a reply that answers nothing. Nothing is
// committed, and the connection is closed.
func (c *Conn) unasked() Outcome {
	if c.arm(earlyReply) != nil {
		return Lost(false)
	}
	code, err := c.replies.Read()
	if err == nil && code == 421 {
		return Outcome{Reply: c.Said()}
	}
	if err == nil {
		c.cfg.Learned.Stutters.Store(true)
	}
	return Lost(false)
}

// goodbye is unasked as the end of a flight that never left.
func (c *Conn) goodbye(replies int) error {
	fe := &FlightError{Err: errClosing, Replies: replies}
	if out := c.unasked(); out.Reply != nil {
		fe.Code, fe.Reply = out.Reply.Code, out.Reply
	}
	return fe
}
