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

package mailapi

import (
	"errors"
	"io"
	"sync"
	"time"
)

// maxReplay is how much of a streamed message is kept for a second request:
// servers refuse a token at once, with little more read than what a connection
// holds.
const maxReplay = 256 << 10

// Body is a request's body. It knows how much of it has left.
type Body struct {
	mu   sync.Mutex
	held *held // all of it; nil: it is read as it leaves

	kept   []byte    // of a stream: its beginning
	src    io.Reader // what follows
	err    error     // of src, for good
	beyond bool      // more was read than is kept
}

// Base64 is a body that is read to its end now, since its length has to be known,
// and encoded as it leaves. A reader's error is returned as it is.
func Base64(r io.Reader) (*Body, error) {
	b, err := hold(r)
	if err != nil {
		return nil, err
	}
	b.held.base64 = true
	return b, nil
}

// hold is a body that is read to its end now.
func hold(r io.Reader) (*Body, error) {
	h := new(held)
	if err := h.fill(r); err != nil {
		h.free()
		return nil, err
	}
	return &Body{held: h}, nil
}

// Stream is a body that is read as it leaves.
func Stream(r io.Reader) *Body { return &Body{src: r} }

// length is its length; -1 if that is not known.
func (b *Body) length() int64 {
	if b.held == nil {
		return -1
	}
	return b.held.length()
}

// close gives back what it has of memory. All that was opened must be stopped.
func (b *Body) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held != nil {
		b.held.free()
	}
}

// failure is what kept it from being read to its end.
func (b *Body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == io.EOF {
		return nil
	}
	return b.err
}

// replayable reports whether it can be given again.
func (b *Body) replayable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.beyond
}

// open returns the body from its beginning, if that can be given (again). What
// was opened before must be stopped.
func (b *Body) open(timeout time.Duration, expire func()) (*flow, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beyond {
		return nil, false
	}
	f := &flow{b: b, timeout: timeout, timer: time.AfterFunc(timeout, expire)}
	if b.held != nil {
		f.held = b.held.reader()
	}
	return f, true
}

// progress is how much of a body has left.
type progress int

const (
	nothing progress = iota
	part
	everything
)

// flow is one reading of a body. Once stopped it gives no more, so that what was
// decided about it stays true. The time limit begins anew with each reading, so
// that a slow client is not taken for a slow provider.
type flow struct {
	b       *Body
	held    io.Reader // of a body that is held
	at      int64     // where it is
	begun   bool
	all     bool
	stopped bool
	timeout time.Duration
	timer   *time.Timer
}

// Read implements io.Reader.
func (f *flow) Read(p []byte) (int, error) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	if f.stopped {
		return 0, errors.New("the request is over")
	}
	f.timer.Stop() // it is the client's turn, which has a limit of its own
	defer f.timer.Reset(f.timeout)
	return f.read(p)
}

// read reads what is held, or what is kept and then what follows; the caller holds
// the lock.
func (f *flow) read(p []byte) (n int, err error) {
	b := f.b
	switch {
	case b.held != nil:
		n, err = f.held.Read(p)
	case !b.beyond && f.at < int64(len(b.kept)):
		n = copy(p, b.kept[f.at:])
	case b.err == nil:
		n, b.err = b.src.Read(p)
		if b.beyond = b.beyond || len(b.kept)+n > maxReplay; b.beyond {
			b.kept = nil
		} else {
			b.kept = append(b.kept, p[:n]...)
		}
	}
	if n > 0 {
		f.begun = true
		f.at += int64(n)
		// Of a known length the last octet is the end.
		f.all = f.at == b.length()
		return n, nil
	}
	if b.held == nil {
		// Of an unknown one it is the end itself that the provider waits for.
		err = b.err
		f.all = err == io.EOF
	}
	return 0, err
}

// stop ends it and says how far it was read.
func (f *flow) stop() progress {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.stopped = true
	f.timer.Stop()
	switch {
	case f.all:
		return everything
	case f.begun:
		return part
	}
	return nothing
}

// Reader returns the body as it would leave, for tests.
func (b *Body) Reader() io.Reader {
	f, _ := b.open(time.Hour, func() {})
	return f
}
