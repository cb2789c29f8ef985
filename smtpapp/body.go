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

package smtpapp

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// maxBodyLine is the longest line of a message. RFC 5321 says 998, but real
// mail does not keep to it, and signatures cover the lines as they are.
const maxBodyLine = 1 << 20

// errRefused is what Read of a body returns once the message is known to be
// unacceptable; the verdict says why.
var errRefused = errors.New("message refused")

// body is the message that a client sends: after DATA up to the dot, or in
// BDAT chunks. It is the io.Reader that a session's Data gets, and runs on
// the session's own goroutine throughout.
//
// Its Read fails with something other than io.EOF if the message must not be
// delivered; then either verdict or ioErr is set.
type body struct {
	l *loop

	dot       bool // DATA; otherwise BDAT
	normalize bool
	max       int64

	size    int64        // octets handed out
	verdict *relay.Reply // why the message is refused
	ioErr   error        // the connection can't be used any more
	eof     bool         // the message's true end has been read
	aborted bool         // another command came between two chunks

	// DATA: what was consumed last.
	lineStart bool
	lastCR    bool

	// BDAT
	left int64 // octets left in this chunk
	cur  int64 // octets of this chunk
	last bool

	check   checker
	scratch *[]byte // pooled, for normalize
	tiny    [4]byte // what a very small read expands to,
	over    []byte  // and what did not fit it
}

func (b *body) start(l *loop, dot bool) {
	*b = body{l: l, dot: dot, max: l.p.maxSize, normalize: l.p.normalize, lineStart: true}
	l.w.idle = l.p.bodyIdle
	l.w.until = time.Now().Add(l.p.bodyTimeout)
}

// stop gives back what the message took. The outcome stays.
func (b *body) stop() {
	b.l = nil
	if b.scratch != nil {
		bigPool.Put(b.scratch)
		b.scratch = nil
	}
}

// outcome says how large the message was and, if it was not read to its end,
// why.
func (b *body) outcome() (size int64, verdict *relay.Reply, failed bool) {
	return b.size, b.verdict, b.ioErr != nil || b.aborted
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.verdict != nil {
		return 0, errRefused
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.normalize {
		return b.readNormalized(p)
	}
	n, err := b.readRaw(p)
	if bad := b.check.scan(p[:n]); bad != nil {
		b.verdict = bad
		return 0, errRefused
	}
	if err == io.EOF {
		if bad := b.check.end(); bad != nil {
			b.verdict = bad
			return 0, errRefused
		}
	}
	b.size += int64(n)
	if b.size > b.max {
		b.verdict = relay.ReplyTooBig
		return 0, errRefused
	}
	return n, err
}

// readNormalized makes CRLF of each CR or LF that stands alone.
func (b *body) readNormalized(p []byte) (int, error) {
	if len(b.over) > 0 {
		n := copy(p, b.over)
		b.over = b.over[n:]
		return n, nil
	}
	if len(p) < len(b.tiny) {
		n, err := b.readNormalized(b.tiny[:])
		k := copy(p, b.tiny[:n])
		if b.over = b.tiny[k:n]; len(b.over) > 0 {
			err = nil
		}
		return k, err
	}
	if b.scratch == nil {
		b.scratch = bigPool.Get().(*[]byte)
	}
	// Each octet may become two, and so may a CR from before.
	raw := (*b.scratch)[:min(bigBuffer, len(p)/2-1)]
	var out []byte
	var bad *relay.Reply
	var err error
	for len(out) == 0 && err == nil && bad == nil {
		var n int
		n, err = b.readRaw(raw)
		out, bad = b.check.normalize(p[:0], raw[:n], err == io.EOF)
	}
	b.size += int64(len(out))
	if bad == nil && b.size > b.max {
		bad = relay.ReplyTooBig
	}
	if bad != nil {
		b.verdict = bad
		return 0, errRefused
	}
	return len(out), err
}

// readRaw reads what the framing frames.
func (b *body) readRaw(p []byte) (int, error) {
	if b.ioErr != nil {
		return 0, b.ioErr
	}
	if b.eof {
		return 0, io.EOF
	}
	if b.dot {
		return b.readDot(p)
	}
	return b.readChunk(p)
}

var crlfDot = []byte("\r\n.")

// readDot undoes dot-stuffing (RFC 5321 section 4.5.2). Only CRLF.CRLF ends
// the message: whatever else others take for an end is content, and content
// with a bare CR or LF is not passed on.
func (b *body) readDot(p []byte) (int, error) {
	w := &b.l.w
	n := 0
	for n < len(p) {
		win := w.buffered()
		if len(win) == 0 {
			if n > 0 {
				return n, nil
			}
			if err := b.more(); err != nil {
				return 0, err
			}
			continue
		}
		if b.lastCR {
			b.lastCR = false
			if win[0] == '\n' {
				p[n] = '\n'
				n++
				w.r++
				b.lineStart = true
				continue
			}
		}
		if b.lineStart && win[0] == '.' {
			if len(win) < 3 && (len(win) == 1 || win[1] == '\r') {
				if n > 0 {
					return n, nil
				}
				if err := b.more(); err != nil {
					return 0, err
				}
				continue
			}
			w.r++
			b.lineStart = false
			if win[1] == '\r' && win[2] == '\n' {
				w.r += 2
				b.eof = true
				return n, io.EOF
			}
			continue
		}
		b.lineStart = false
		take := len(win)
		if k := bytes.Index(win, crlfDot); k >= 0 {
			take = k + 2
			b.lineStart = true
		} else if take >= 2 && win[take-2] == '\r' && win[take-1] == '\n' {
			b.lineStart = true
		}
		if room := len(p) - n; take > room {
			take = room
			b.lineStart = take >= 2 && win[take-2] == '\r' && win[take-1] == '\n'
		}
		n += copy(p[n:], win[:take])
		w.r += take
		b.lastCR = win[take-1] == '\r'
	}
	return n, nil
}

// readChunk reads BDAT chunks (RFC 3030 section 2), and the commands between
// them.
func (b *body) readChunk(p []byte) (int, error) {
	w := &b.l.w
	for b.left == 0 {
		if b.last {
			b.eof = true
			return 0, io.EOF
		}
		if err := b.l.nextChunk(b); err != nil {
			return 0, err
		}
	}
	win := w.buffered()
	if len(win) > 0 {
		n := copy(p[:min(int64(len(p)), b.left)], win)
		w.r += n
		b.left -= int64(n)
		return n, nil
	}
	if len(p) >= bigBuffer/2 || int64(len(p)) >= b.left {
		n, err := w.readInto(p[:min(int64(len(p)), b.left)], false)
		b.left -= int64(n)
		if err != nil {
			b.ioErr = unexpected(err)
			return n, b.ioErr
		}
		return n, nil
	}
	if err := b.more(); err != nil {
		return 0, err
	}
	return b.readChunk(p)
}

func (b *body) more() error {
	b.l.w.grow()
	if err := b.l.w.fill(false); err != nil {
		b.ioErr = unexpected(err)
		return b.ioErr
	}
	return nil
}

// unexpected makes sure that a connection that ends within a message never
// looks like the message's end.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// drain reads up to the message's true end, so that no part of it is ever
// taken for a command. It gives up on messages far beyond the limit.
func (b *body) drain() error {
	if b.eof || b.aborted || b.ioErr != nil {
		return b.ioErr
	}
	p := bigPool.Get().(*[]byte)
	defer bigPool.Put(p)
	budget := b.max + 1<<20
	for budget > 0 {
		if !b.dot && b.left == 0 {
			return nil // the chunks that follow are refused one by one
		}
		n, err := b.readRaw(*p)
		budget -= int64(n)
		if b.eof {
			return nil
		}
		if err != nil {
			return err
		}
	}
	b.ioErr = errRefused
	return b.ioErr
}

// checker looks for what no message may hold: a CR or LF that stands alone
// (what one server takes for a line another does not: SMTP smuggling), NUL,
// and lines without end.
type checker struct {
	line int  // length of the current line so far
	cr   bool // the octet before was a CR
}

func (c *checker) scan(p []byte) *relay.Reply {
	if bytes.IndexByte(p, 0) >= 0 {
		return relay.ReplyNUL
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if c.cr {
				return relay.ReplyBareNewline
			}
			if j := bytes.IndexByte(p, '\r'); j >= 0 && j < len(p)-1 {
				return relay.ReplyBareNewline
			}
			c.cr = p[len(p)-1] == '\r'
			c.line += len(p)
			if c.line > maxBodyLine {
				return relay.ReplyLineOverflow
			}
			return nil
		}
		if i == 0 {
			if !c.cr {
				return relay.ReplyBareNewline
			}
		} else if c.cr || p[i-1] != '\r' || bytes.IndexByte(p[:i-1], '\r') >= 0 {
			return relay.ReplyBareNewline
		}
		if c.line+i > maxBodyLine {
			return relay.ReplyLineOverflow
		}
		c.cr = false
		c.line = 0
		p = p[i+1:]
	}
	return nil
}

func (c *checker) end() *relay.Reply {
	if c.cr {
		return relay.ReplyBareNewline
	}
	return nil
}

// normalize appends p to dst with CRLF for every CR or LF that stands alone.
func (c *checker) normalize(dst, p []byte, end bool) ([]byte, *relay.Reply) {
	for _, o := range p {
		if c.cr {
			c.cr = false
			dst = append(dst, '\r', '\n')
			c.line = 0
			if o == '\n' {
				continue
			}
		}
		switch o {
		case 0:
			return dst, relay.ReplyNUL
		case '\r':
			c.cr = true
		case '\n':
			dst = append(dst, '\r', '\n')
			c.line = 0
		default:
			dst = append(dst, o)
			if c.line++; c.line > maxBodyLine {
				return dst, relay.ReplyLineOverflow
			}
		}
	}
	if end && c.cr {
		c.cr = false
		dst = append(dst, '\r', '\n')
	}
	return dst, nil
}
