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

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/caddymail/mailgateway/internal/rawread"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/pace"
)

const (
	// smallBuffer is what an idle client holds; most commands fit.
	smallBuffer = 512
	// bigBuffer holds the longest AUTH response (RFC 4954 section 4) and is
	// the unit in which bodies are read.
	bigBuffer = 32 << 10
	// hugeBuffer is how much of a large body is read at a time, to where it is to be.
	hugeBuffer = 128 << 10
	// outBuffer is where replies gather; a flight of pipelined commands is
	// answered from it in one write.
	outBuffer = 4 << 10
	// maxSkip is how much of an overlong line is skipped in search of its
	// end before the connection is given up.
	maxSkip = 1 << 20
	// headLength is how much of an overlong line is looked at.
	headLength = 16
	// lingerTimeout is how long a closed connection is read on.
	lingerTimeout = 500 * time.Millisecond
	// writeTimeout bounds one write of replies.
	writeTimeout = time.Minute
	// soon is how close a read deadline may come before it is moved.
	soon = 15 * time.Second
)

var (
	errLineTooLong = errors.New("line too long")
	errBareLF      = errors.New("line ends in a bare LF")
	errTLSHello    = errors.New("a TLS handshake where a command should come")
	errProxyHeader = errors.New("a PROXY header where a command should come")
	errDraining    = errors.New("server is shutting down")
)

// wire is a client connection's buffered reading and writing. Replies gather
// until the next read that would block. An idle client holds only the small
// buffer.
type wire struct {
	base net.Conn // deadlines and Close, also by other goroutines
	nc   net.Conn // base, or TLS over it
	tls  *tls.ConnectionState

	// Over TLS, where the socket can be waited for by itself; else nil.
	raw   syscall.RawConn
	below *handshake

	rbuf []byte // rd[r:w] is the unread window
	r, w int
	big  *[]byte
	out  *[]byte

	// How long the next blocking read may take.
	idle  time.Duration
	until time.Time // absolute bound, zero for none
	by    time.Time // what came of them at the last read
	next  time.Time // the deadline that this read has, by or an earlier one
	early time.Time // a deadline after this is left as it is

	stall pace.Watch

	readDeadline  time.Time
	writeDeadline time.Time

	look  bool  // the final word on a message is queued: the socket is looked at first
	ahead bool  // something could be read then, the end of the stream included
	eyes  *eyes // made with the first message

	drained  chan struct{} // closed by drain
	mu       sync.Mutex
	draining bool
	lastWord *ClosingError // of a drain; nil if the server shuts down
	waiting  bool          // blocked at a boundary, where a drain may interrupt

	small [smallBuffer]byte
}

func (c *wire) init(nc net.Conn) {
	c.base, c.nc = nc, nc
	c.drained = make(chan struct{})
	c.rbuf = c.small[:]
}

// buffered returns the octets that have been read and not yet consumed.
func (c *wire) buffered() []byte { return c.rbuf[c.r:c.w] }

// consume takes n of the buffered octets as read.
func (c *wire) consume(n int) { c.r += n }

// take moves buffered octets to p and returns how many.
func (c *wire) take(p []byte) int {
	n := copy(p, c.buffered())
	c.consume(n)
	return n
}

// hasMore reports whether the client has sent more than was read of it.
func (c *wire) hasMore() bool { return len(c.buffered()) > 0 || readable(c.base) }

// more reads at least one octet more of a message, by the large buffer.
func (c *wire) more() error {
	c.grow()
	return c.fill(false)
}

// discardInput forgets what the client sent ahead.
func (c *wire) discardInput() { c.r, c.w = 0, 0 }

// fill flushes the replies and reads at least one byte. There must be room
// for it once the window is moved to the front.
func (c *wire) fill(interruptible bool) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.rbuf) {
		copy(c.rbuf, c.rbuf[c.r:c.w])
		c.r, c.w = 0, c.w-c.r
	}
	if c.w == len(c.rbuf) {
		c.grow()
	}
	n, err := c.readInto(c.rbuf[c.w:], interruptible)
	c.w += n
	return err
}

// readInto flushes the replies and reads into p, past the buffer. An idle client
// waits here: what only prepares the read, or follows it, is in functions of its own,
// so that little is on the stack meanwhile.
func (c *wire) readInto(p []byte, interruptible bool) (int, error) {
	look := c.canLook()
	if err := c.begin(interruptible, look); err != nil {
		return 0, err
	}
	for {
		if err := c.armRead(interruptible); err != nil {
			return 0, err
		}
		var n int
		var err error
		if look {
			look = false
			n, err = c.lookAndRead(p, interruptible)
		} else {
			n, err = c.read(p, interruptible)
		}
		var done bool
		if n, done, err = c.readDone(n, err, interruptible); done {
			return n, err
		}
	}
}

// begin finds out how long the next read may take. It flushes the replies before it,
// unless they wait for a look at the socket.
func (c *wire) begin(interruptible, look bool) error {
	now := time.Now()
	if !look {
		if err := c.give(now, interruptible); err != nil {
			return err
		}
	}
	by := now.Add(c.idle)
	if !c.until.IsZero() && c.until.Before(by) {
		by = c.until
	}
	c.by = by
	next, err := c.stall.Begin(now, by)
	if err != nil {
		return err
	}
	// A busy client does not move a timer at every command: a deadline that
	// is early, but not too soon, stays until it proves too early.
	c.early, c.next = now.Add(min(soon, next.Sub(now)/2)), next
	return nil
}

// give flushes the replies, and the buffer of a client that may be idle now.
func (c *wire) give(now time.Time, interruptible bool) error {
	if err := c.flushAt(now); err != nil {
		return err
	}
	if interruptible && c.out != nil {
		outPool.Put(c.out)
		c.out = nil
	}
	return nil
}

// readDone looks at what a read has come to. done is false for one whose deadline
// was too early.
func (c *wire) readDone(n int, err error, interruptible bool) (_ int, done bool, _ error) {
	if interruptible {
		c.mu.Lock()
		c.waiting = false
		draining := c.draining
		c.mu.Unlock()
		if draining {
			c.readDeadline = time.Time{} // drain has moved the socket's
			if n == 0 {
				return 0, true, errDraining
			}
		}
	}
	switch {
	case n > 0:
		if c.below == nil {
			c.stall.Got(n)
		}
		return n, true, nil
	case err == nil:
		return 0, true, io.ErrNoProgress
	case !isTimeout(err):
		return 0, true, err
	case c.readDeadline.Before(c.next): // it was too early
	case c.next.Equal(c.by):
		return 0, true, err
	default:
		if c.next, err = c.stall.Expired(time.Now(), c.by); err != nil {
			return 0, true, err
		}
	}
	c.early = c.next
	return 0, false, nil
}

// read reads. Over TLS a client that is idle is waited for at the socket: within
// crypto/tls the stack would be deeper than 4 KiB allow.
func (c *wire) read(p []byte, interruptible bool) (int, error) {
	if !interruptible || c.raw == nil {
		return c.nc.Read(p)
	}
	c.below.ready = true
	n, err := c.nc.Read(p)
	c.below.ready = false
	if n > 0 || !errors.Is(err, errNotYet) {
		return n, err
	}
	if err := awaitReadable(c.raw); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

// armRead sets the deadline of a read to next, unless it is within early and next.
func (c *wire) armRead(interruptible bool) error {
	if interruptible {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.draining {
			return errDraining
		}
		c.waiting = true
	}
	if !c.readDeadline.After(c.next) && !c.readDeadline.Before(c.early) {
		return nil
	}
	c.readDeadline = c.next
	return c.base.SetReadDeadline(c.next)
}

// drain makes the session end at its next boundary, at once if it is idle. The
// first drain's last word counts.
func (c *wire) drain(lastWord *ClosingError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining {
		c.draining, c.lastWord = true, lastWord
		close(c.drained)
	}
	if c.waiting {
		_ = c.base.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *wire) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// farewell returns what a client hears that is drained.
func (c *wire) farewell() (*relay.Reply, End) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastWord != nil {
		return c.lastWord.Reply, c.lastWord.End
	}
	return relay.ReplyShuttingDown, EndShutdown
}

// flush writes the gathered replies.
func (c *wire) flush() error { return c.flushAt(time.Now()) }

func (c *wire) flushAt(now time.Time) error {
	if c.out == nil || len(*c.out) == 0 {
		return nil
	}
	if c.look {
		c.look, c.ahead = false, readable(c.base)
	}
	if want := now.Add(writeTimeout); want.Sub(c.writeDeadline) > writeTimeout/8 {
		c.writeDeadline = want
		if err := c.base.SetWriteDeadline(want); err != nil {
			return err
		}
	}
	_, err := c.nc.Write(*c.out)
	*c.out = (*c.out)[:0]
	return err
}

// reply queues a reply.
func (c *wire) reply(r *relay.Reply) {
	if c.out == nil {
		c.out = outPool.Get().(*[]byte)
	}
	*c.out = r.Append(*c.out)
}

// await reads the beginning of a line unless something of it is there. What is
// left of the time is for the rest of the line.
func (c *wire) await(interruptible bool) error {
	if c.r != c.w {
		return nil
	}
	c.shrink()
	c.r, c.w = 0, 0
	n, err := c.readInto(c.rbuf, interruptible)
	c.w = n
	c.until = c.by
	return err
}

// readLine reads a command line of at most limit bytes, CRLF included, and
// returns it without CRLF. The line is valid until the next read. An overlong
// line is skipped to its end, and its beginning returned with errLineTooLong;
// one that ends in a bare LF is returned along with errBareLF.
func (c *wire) readLine(limit int, interruptible bool) ([]byte, error) {
	scanned := 0
	bound := c.until
	defer func() { c.until = bound }()
	for {
		win := c.rbuf[c.r:c.w]
		if isTLSHello(win) {
			// No line: the LF in it, if there is one, is an octet of a key.
			return nil, errTLSHello
		}
		if bytes.HasPrefix(win, proxySignature) {
			return nil, errProxyHeader
		}
		if i := bytes.IndexByte(win[scanned:], '\n'); i >= 0 {
			i += scanned
			c.consume(i + 1)
			if i+1 > limit {
				return win[:headLength], errLineTooLong
			}
			if i == 0 || win[i-1] != '\r' {
				return win[:i], errBareLF
			}
			return win[:i-1], nil
		}
		scanned = len(win)
		if scanned >= limit {
			var head [headLength]byte
			copy(head[:], win)
			return head[:], c.skipLine()
		}
		if scanned == 0 {
			c.shrink()
		}
		if err := c.fill(interruptible); err != nil {
			return nil, err
		}
		// The time is for the whole line: a trickle ends too.
		c.until = c.by
	}
}

// skipLine drops input up to and including the next LF.
func (c *wire) skipLine() error {
	skipped := 0
	for {
		win := c.rbuf[c.r:c.w]
		if i := bytes.IndexByte(win, '\n'); i >= 0 {
			c.consume(i + 1)
			return errLineTooLong
		}
		skipped += len(win)
		c.discardInput()
		if skipped > maxSkip {
			return io.ErrShortBuffer
		}
		if err := c.fill(false); err != nil {
			return err
		}
	}
}

// peekLine returns the next command line if it has arrived whole, without
// consuming it, and its length on the wire. It never reads.
func (c *wire) peekLine(limit int) ([]byte, int) {
	win := c.rbuf[c.r:c.w]
	i := bytes.IndexByte(win, '\n')
	if i < 1 || i+1 > limit || win[i-1] != '\r' {
		return nil, 0
	}
	return win[:i-1], i + 1
}

// linger reads on for a moment after the last reply: a socket that is closed
// with input unread is reset, and the reply may be lost with it.
func (c *wire) linger() {
	nc := c.nc
	if c.tls == nil {
		nc = rawread.Beneath(nc)
	}
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.base.SetReadDeadline(time.Now().Add(lingerTimeout))
	c.grow()
	for n := 0; n < maxSkip; {
		k, err := c.nc.Read(*c.big)
		if err != nil {
			return
		}
		n += k
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
