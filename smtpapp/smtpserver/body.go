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
	"errors"
	"io"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver/content"
)

var (
	// errRefused is what Read of a body returns once the message is known to
	// be unacceptable; the flaw says why.
	errRefused = errors.New("message refused")
	// errTooManyErrors ends a message whose client has made too many errors
	// between its chunks.
	errTooManyErrors = errors.New("too many errors between chunks")
)

// flaw is why a message is refused.
type flaw struct {
	cause Cause
	reply *relay.Reply
}

var (
	flawTooBig  = flaw{CauseTooBig, relay.ReplyTooBig}
	flawNewline = flaw{CauseBareNewline, relay.ReplyBareNewline}
	flawNUL     = flaw{CauseContent, relay.ReplyNUL}
	flawLine    = flaw{CauseContent, relay.ReplyLineOverflow}

	flaws = [...]*flaw{content.Newline: &flawNewline, content.NUL: &flawNUL, content.Line: &flawLine}
)

// body is the message that a client sends: after DATA up to the dot, or in
// BDAT chunks. It is the io.Reader that a session's Data gets, and runs on
// the session's own goroutine throughout.
//
// Its Read fails with something other than io.EOF if the message must not be
// delivered; then either flaw, ioErr or aborted is set.
type body struct {
	w *wire
	// next is called at the end of a chunk that is not the last, and sets
	// the next one. It is nil after DATA.
	next func() error

	normalize bool
	lf        bool // lines end with LF alone: the last one too
	crs       bool // lines end with CRs and LF: the last one too
	max       int64
	patience  time.Duration

	size    int64 // octets handed out
	flaw    *flaw // why the message is refused
	ioErr   error // the connection can't be used any more
	eof     bool  // the message's true end has been read
	aborted bool  // another command came between two chunks

	// DATA: what was consumed last.
	lineStart bool
	lastCR    bool

	// BDAT
	left  int64 // octets left in this chunk
	chunk int64 // octets of this chunk
	last  bool

	check   content.Checker
	scratch *[]byte                    // pooled, for normalize
	tiny    [2*content.MaxRun + 4]byte // what a very small read expands to,
	over    []byte                     // and what did not fit it
}

func (b *body) start(w *wire, cfg *Config, normalize, lf bool, next func() error) {
	*b = body{w: w, next: next, max: cfg.MaxSize, patience: cfg.Patience, normalize: normalize, lf: lf, lineStart: true}
	b.check.NoCR = lf
	w.idle = cfg.BodyIdle
	w.until = time.Now().Add(cfg.BodyTimeout)
	w.stall.StartBody()
}

// stop gives back what the message took. The outcome stays.
func (b *body) stop() {
	b.w.stall.EndBody()
	b.w, b.next = nil, nil
	if b.scratch != nil {
		bigPool.Put(b.scratch)
		b.scratch = nil
	}
}

// Watch implements relay.Watched.
func (b *body) Watch(h relay.Holder) { b.w.stall.Hold(h.Wanted, b.patience) }

// outcome decides what became of the message: what it is itself goes before
// what the session says. It is nil if the client went or changed its mind.
func (b *body) outcome(said *relay.Reply, err error) *relay.Reply {
	switch {
	case b.flaw != nil:
		return b.flaw.reply
	case b.ioErr != nil || b.aborted:
		return nil
	case err != nil:
		return AsReply(err)
	case said == nil:
		return relay.ReplyInternal
	case !said.Positive():
		return AsReply(said)
	case !b.eof:
		// A session that says yes without having read the message is
		// wrong, and the client must not believe it.
		return relay.ReplyInternal
	}
	return said
}

func (b *body) setChunk(size int64, last bool) {
	b.left, b.chunk, b.last = size, size, last
}

// failed notes that the connection can't be used any more.
func (b *body) failed(err error) error {
	if err == io.EOF {
		// A connection that ends within a message must never look like the
		// message's end.
		err = io.ErrUnexpectedEOF
	}
	b.ioErr = err
	return err
}

// lost notes a flaw after which there is no telling where the message ends.
func (b *body) lost(f *flaw) error {
	b.flaw = f
	return b.failed(errRefused)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.flaw != nil {
		return 0, errRefused
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.normalize {
		return b.readNormalized(p)
	}
	n, err := b.readRaw(p)
	if bad := flaws[b.check.Scan(p[:n])]; bad != nil {
		return b.refuse(bad)
	}
	if err == io.EOF {
		if bad := flaws[b.check.End()]; bad != nil {
			return b.refuse(bad)
		}
	}
	b.size += int64(n)
	if b.size > b.max {
		return b.refuse(&flawTooBig)
	}
	return n, err
}

func (b *body) refuse(f *flaw) (int, error) {
	b.flaw = f
	return 0, errRefused
}

// readNormalized makes CRLF of each CR or LF that stands alone.
func (b *body) readNormalized(p []byte) (int, error) {
	if len(b.over) > 0 {
		n := copy(p, b.over)
		b.over = b.over[n:]
		return n, nil
	}
	if n, err := b.readWhole(p); n > 0 || err != nil {
		if b.size += int64(n); b.size > b.max {
			return b.refuse(&flawTooBig)
		}
		return n, err
	}
	if len(p) < len(b.tiny) {
		n, err := b.readNormalized(b.tiny[:])
		k := copy(p, b.tiny[:n])
		if b.over = b.tiny[k:n]; len(b.over) > 0 {
			err = nil
		}
		return k, err
	}
	var out []byte
	var bad *flaw
	var err error
	for len(out) == 0 && err == nil && bad == nil {
		// Each octet may become two, and so may the CRs from before. One of
		// them mostly goes on with its LF.
		cr := b.check.Held()
		raw := p[min(cr, 1):][:min(bigBuffer, len(p)/2-content.MaxRun)]
		var n int
		n, err = b.readRaw(raw)
		if k, ok := b.check.Clean(raw[:n]); ok {
			if cr > 0 {
				p[0] = '\r'
			}
			if out = p[:cr+k]; err == io.EOF {
				out = b.check.BreakLines(out)
			}
			continue
		}
		if b.scratch == nil {
			b.scratch = bigPool.Get().(*[]byte)
		}
		var found content.Flaw
		out, found = b.check.Normalize(p[:0], (*b.scratch)[:copy(*b.scratch, raw[:n])], err == io.EOF)
		bad = flaws[found]
	}
	b.size += int64(len(out))
	if bad == nil && b.size > b.max {
		bad = &flawTooBig
	}
	if bad != nil {
		return b.refuse(bad)
	}
	return len(out), err
}

// readWhole reads lines of DATA that are handed on as they stand, nearly all of nearly
// all mail. It looks for the message's end and for flaws at once, and at each octet
// less often than who does one after the other. It stops before whatever else there is,
// a dot at the beginning of a line above all, and reads nothing where that is next.
func (b *body) readWhole(p []byte) (n int, err error) {
	if b.next != nil || b.lf || b.lastCR || b.check.Held() > 0 || b.eof || b.ioErr != nil {
		return 0, nil
	}
	w := b.w
	for n < len(p) {
		win := w.buffered()
		if len(win) == 0 && n == 0 && len(p) >= bigBuffer/2 {
			return b.readPlace(p[:min(len(p), hugeBuffer)])
		}
		if len(win) == 0 || len(win) == 1 && win[0] == '\r' {
			if n > 0 {
				break
			}
			if err := b.more(); err != nil {
				return 0, err
			}
			continue
		}
		if b.lineStart && win[0] == '.' {
			break
		}
		k, ended := b.check.Whole(win[:min(len(win), len(p)-n)])
		if k == 0 {
			break
		}
		n += copy(p[n:], win[:k])
		w.consume(k)
		b.lineStart = ended
	}
	return n, nil
}

// readPlace is readWhole for a reader with room: the lines are read to where they are to
// be, and only what is none of them goes to the buffer.
func (b *body) readPlace(p []byte) (n int, err error) {
	got, err := b.w.readInto(p, false)
	if err != nil {
		return 0, b.failed(err)
	}
	if !b.lineStart || p[0] != '.' {
		if k, ended := b.check.Whole(p[:got]); k > 0 {
			n, b.lineStart = k, ended
		}
	}
	b.w.unread(p[n:got])
	return n, nil
}

// readRaw reads what the framing frames.
func (b *body) readRaw(p []byte) (int, error) {
	if b.ioErr != nil {
		return 0, b.ioErr
	}
	if b.eof {
		return 0, io.EOF
	}
	switch {
	case b.next != nil:
	case b.lf:
		return b.readDotLF(p)
	default:
		return b.readDot(p)
	}
	return b.readChunk(p)
}

var crlfDot = []byte("\r\n.")

// readDot undoes dot-stuffing (RFC 5321 section 4.5.2). Only CRLF.CRLF ends
// the message: whatever else others take for an end is content, and content
// with a bare CR or LF is not passed on.
func (b *body) readDot(p []byte) (int, error) {
	w := b.w
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
				w.consume(1)
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
			end := 2
			for b.crs && end < len(win) && win[end] == '\r' && end <= content.MaxRun {
				end++
			}
			if win[1] == '\r' && end == len(win) {
				if n > 0 {
					return n, nil
				}
				if err := b.more(); err != nil {
					return 0, err
				}
				continue
			}
			w.consume(1)
			b.lineStart = false
			if win[1] == '\r' && win[end] == '\n' {
				w.consume(end)
				b.eof = true
				return n, io.EOF
			}
			continue
		}
		b.lineStart = false
		// No more is looked at than there is room for.
		win = win[:min(len(win), len(p)-n)]
		take := len(win)
		if k := bytes.Index(win, crlfDot); k >= 0 {
			take = k + 2
			b.lineStart = true
		} else if take >= 2 && win[take-2] == '\r' && win[take-1] == '\n' {
			b.lineStart = true
		}
		n += copy(p[n:], win[:take])
		w.consume(take)
		b.lastCR = win[take-1] == '\r'
	}
	return n, nil
}

var lfDot = []byte("\n.")

// readDotLF is readDot for a client whose lines end with LF alone: only LF.LF
// ends the message.
func (b *body) readDotLF(p []byte) (int, error) {
	w := b.w
	n := 0
	for n < len(p) {
		win := w.buffered()
		if len(win) == 0 || b.lineStart && win[0] == '.' && len(win) == 1 {
			if n > 0 {
				return n, nil
			}
			if err := b.more(); err != nil {
				return 0, err
			}
			continue
		}
		if b.lineStart && win[0] == '.' {
			w.consume(1)
			b.lineStart = false
			if win[1] == '\n' {
				w.consume(1)
				b.eof = true
				return n, io.EOF
			}
			continue
		}
		take := min(len(win), len(p)-n)
		if k := bytes.Index(win[:take], lfDot); k >= 0 {
			take = k + 1
		}
		n += copy(p[n:], win[:take])
		w.consume(take)
		b.lineStart = win[take-1] == '\n'
	}
	return n, nil
}

// readChunk reads BDAT chunks (RFC 3030 section 2), and the commands between
// them.
func (b *body) readChunk(p []byte) (int, error) {
	w := b.w
	for b.left == 0 {
		if b.last {
			b.eof = true
			return 0, io.EOF
		}
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	if len(w.buffered()) > 0 {
		n := w.take(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		return n, nil
	}
	if len(p) >= bigBuffer/2 || int64(len(p)) >= b.left {
		n, err := w.readInto(p[:min(int64(len(p)), b.left)], false)
		b.left -= int64(n)
		if err != nil {
			return n, b.failed(err)
		}
		return n, nil
	}
	if err := b.more(); err != nil {
		return 0, err
	}
	return b.readChunk(p)
}

func (b *body) more() error {
	if err := b.w.more(); err != nil {
		return b.failed(err)
	}
	return nil
}

// drain reads up to the message's true end, so that no part of it is ever
// taken for a command. It gives up on messages far beyond the limit.
func (b *body) drain() error {
	if b.eof || b.aborted || b.ioErr != nil {
		return b.ioErr
	}
	p := bigPool.Get().(*[]byte)
	defer bigPool.Put(p)
	budget := b.max + maxSkip
	for budget > 0 {
		if b.next != nil && b.left == 0 {
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
	return b.failed(errRefused)
}
