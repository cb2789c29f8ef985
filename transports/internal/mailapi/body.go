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
	mu     sync.Mutex
	kept   []byte    // its beginning, or all of it
	src    io.Reader // what follows; nil: nothing
	err    error     // of src, for good
	beyond bool      // more was read than is kept
}

// Whole is a body that is there.
func Whole(b []byte) *Body { return &Body{kept: b} }

// Stream is a body that is read as it leaves.
func Stream(r io.Reader) *Body { return &Body{src: r} }

// length is its length; -1 if that is not known.
func (b *Body) length() int64 {
	if b.src != nil {
		return -1
	}
	return int64(len(b.kept))
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
	return &flow{b: b, timeout: timeout, timer: time.AfterFunc(timeout, expire)}, true
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
	at      int // in what is kept
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

// read reads what is kept, then what follows; the caller holds the lock.
func (f *flow) read(p []byte) (n int, err error) {
	b := f.b
	switch {
	case !b.beyond && f.at < len(b.kept):
		n = copy(p, b.kept[f.at:])
	case b.src == nil:
		return 0, io.EOF
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
		f.at += n
		// Of a known length the last octet is the end.
		f.all = b.src == nil && f.at == len(b.kept)
		return n, nil
	}
	// Of an unknown one it is the end itself that the provider waits for.
	f.all = b.err == io.EOF
	return 0, b.err
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
