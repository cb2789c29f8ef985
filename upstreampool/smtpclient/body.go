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
	"io"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

const (
	// SmallBody is what is read before the first body byte is sent: a message
	// that ends within it leaves in one piece.
	SmallBody = 256 << 10
	// headRoom is kept free in front of a body for the commands before it.
	headRoom = 1 << 10
	// tailRoom is kept free behind it for the command after it.
	tailRoom = len(reset)
	// earlyReply is how long a provider that stopped reading gets to say why.
	earlyReply = time.Second
)

// Body buffers come in three sizes, so that a small message occupies little, and in a
// fourth for what is left of a large one on its way to a provider that is far away.
var bodySizes = [...]int{16 << 10, 64 << 10, SmallBody, 2 << 20}

// smallClass is the size of SmallBody.
const smallClass = 2

var bodyPools [len(bodySizes)]sync.Pool

// Body is what has been read of a message: the whole or, of a large one, a part
// at a time. It holds headRoom free bytes, the octets, and tailRoom at the end.
type Body struct {
	class int
	b     []byte // the whole buffer
	n     int    // bytes of body
}

func newBody(class int) *Body {
	if v := bodyPools[class].Get(); v != nil {
		buf := v.(*Body)
		buf.n = 0
		return buf
	}
	return &Body{class: class, b: make([]byte, headRoom+bodySizes[class]+tailRoom)}
}

// Free gives the buffer back.
func (b *Body) Free() { bodyPools[b.class].Put(b) }

// Bytes are the octets that have been read.
func (b *Body) Bytes() []byte { return b.b[headRoom : headRoom+b.n] }

// room is what can still be filled.
func (b *Body) room() []byte { return b.b[headRoom+b.n : len(b.b)-tailRoom] }

// grow returns a buffer of the next size with the same body.
func (b *Body) grow() *Body {
	next := newBody(b.class + 1)
	next.n = copy(next.b[headRoom:], b.Bytes())
	b.Free()
	return next
}

// with returns the body with a command in front, without copying it.
func (b *Body) with(head []byte) []byte {
	start := headRoom - len(head)
	copy(b.b[start:], head)
	return b.b[start : headRoom+b.n]
}

// within returns the body with a command in front and, with tail, RSET behind it.
func (b *Body) within(head []byte, tail bool) []byte {
	if tail {
		return append(b.with(head), reset...) // into tailRoom
	}
	return b.with(head)
}

// ReadBody reads until the body ends or SmallBody is full.
func ReadBody(body io.Reader) (buf *Body, eof bool, err error) {
	buf = newBody(0)
	for {
		if len(buf.room()) == 0 {
			if buf.class == smallClass {
				return buf, false, nil
			}
			buf = buf.grow()
		}
		if eof, err = buf.fill(body); eof || err != nil {
			return buf, eof, err
		}
	}
}

// fill reads until the buffer is full. A wide one need not be: it does not keep the
// provider waiting for a client that has become slow.
func (b *Body) fill(body io.Reader) (eof bool, err error) {
	var began time.Time
	if b.class > smallClass {
		began = time.Now()
	}
	for idle := 0; len(b.room()) > 0 && (b.n < SmallBody || time.Since(began) < patience); {
		n, err := body.Read(b.room())
		b.n += n
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is a broken body
			return true, nil
		case err != nil:
			return false, err
		case n == 0:
			if idle++; idle > 100 {
				return false, io.ErrNoProgress
			}
		default:
			idle = 0
		}
	}
	return false, nil
}

const (
	// farAway is from when on the wait for the reply to a chunk makes chunks larger.
	farAway = 50 * time.Millisecond
	// patience is how long a client may take for what a chunk has beyond SmallBody.
	patience = time.Second
)

// wideInUse bounds the memory that providers far away take of the process: 16 MiB. A
// message that comes when they are all in use goes on in small chunks.
var wideInUse = make(chan struct{}, 8)

// wideBody returns a wide buffer, nil if none is left.
func wideBody() *Body {
	select {
	case wideInUse <- struct{}{}:
		return newBody(smallClass + 1)
	default:
		return nil
	}
}

func (b *Body) freeWide() {
	b.Free()
	<-wideInUse
}

// BodyError is a body whose Read failed: the client's own trouble. It wraps the
// reply that the reader chose, if it chose one.
type BodyError struct{ Err error }

// Error implements error.
func (e *BodyError) Error() string { return "reading the message: " + e.Err.Error() }

// Unwrap returns what failed, and what the client is told if that is no reply.
func (e *BodyError) Unwrap() []error { return []error{e.Err, relay.ReplyInternal} }
