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

package faultproxy

import (
	"bytes"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	settle   = 5 * time.Millisecond   // no more of a flight comes after it
	grace    = 500 * time.Millisecond // a flight so soon may have crossed a stray, on a busy machine
	longest  = 600 * time.Millisecond
	lateness = 80 * time.Millisecond
)

// session is one connection through the proxy.
type session struct {
	p         *Proxy
	near, far stream // inside of TLS
	sockets   [2]*net.TCPConn
	cut       *cutConn // beneath near

	mu      sync.Mutex
	rnd     *rand.Rand
	track   *tracker
	kind    Kind
	left    int  // octets until it happens
	replies bool // it strikes the replies, not the commands
	until   time.Time
	strayed time.Time
	kept    []byte // of the commands behind a reply too many
	lost    bool   // the end of a message is among what was kept
}

// stream is a connection of which one direction can end.
type stream interface {
	net.Conn
	CloseWrite() error
}

// cutConn is a connection that can keep half of what is written for later.
type cutConn struct {
	*net.TCPConn
	mu   sync.Mutex
	cut  bool
	kept []byte
}

// Write implements net.Conn.
func (c *cutConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := append(c.kept, b...)
	c.kept = nil
	if c.cut {
		c.cut = false
		half := len(out) - len(b)/2
		out, c.kept = out[:half], out[half:]
	}
	_, err := c.TCPConn.Write(out)
	return len(b), err
}

// cutNext keeps half of the next write back.
func (c *cutConn) cutNext() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
}

func newSession(p *Proxy, near, far *net.TCPConn, rnd *rand.Rand) *session {
	s := &session{p: p, far: far, sockets: [2]*net.TCPConn{near, far}, cut: &cutConn{TCPConn: near}, rnd: rnd, track: newTracker()}
	if s.near = s.cut; p.cfg.Near != nil {
		s.near = tls.Server(s.cut, p.cfg.Near)
	}
	if p.cfg.Far != nil {
		s.far = tls.Client(far, p.cfg.Far)
	}
	s.plan()
	return s
}

// plan chooses the next fault.
func (s *session) plan() {
	s.kind = s.p.cfg.Kinds[s.rnd.IntN(len(s.p.cfg.Kinds))]
	s.left = int(s.rnd.ExpFloat64() * float64(s.p.cfg.Mean))
	s.replies = s.kind >= Split || s.rnd.IntN(2) == 0
}

func (s *session) run() {
	var wg sync.WaitGroup
	wg.Go(func() { s.pump(s.near, s.far, false) })
	wg.Go(func() { s.pump(s.far, s.near, true) })
	wg.Wait()
	s.end()
}

func (s *session) end() {
	for _, c := range s.sockets {
		c.Close()
	}
}

func (s *session) reset() {
	for _, c := range s.sockets {
		_ = c.SetLinger(0)
	}
	s.end()
}

// pump carries one direction until it ends.
func (s *session) pump(from, to stream, replies bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !s.pass(from, to, buf[:n], replies) {
			return
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

// pass carries some octets; false ends the direction.
func (s *session) pass(from, to stream, b []byte, replies bool) bool {
	s.mu.Lock()
	if replies {
		s.track.replies(b)
	} else {
		s.track.commands(b)
	}
	strayed, stalled := s.strayed, time.Until(s.until)
	s.left -= len(b)
	due := s.left < 0 && s.replies == replies && strayed.IsZero() && !s.p.calm.Load()
	at := s.left + len(b) // where among these octets
	if at < 0 {           // it was due while the other direction had the word
		at = s.rnd.IntN(len(b))
	}
	kind, luck := s.kind, s.rnd.Float64()
	s.mu.Unlock()
	time.Sleep(stalled)
	if !strayed.IsZero() && !replies {
		return s.shifted(to, b, strayed)
	}
	if !due {
		return write(to, b)
	}
	switch kind {
	case Double:
		return s.double(to, b)
	case Stray, Part:
		return s.stray(to, b, kind, luck)
	}
	s.hit(kind)
	switch kind {
	case Split:
		for i := range b {
			if !write(to, b[i:i+1]) {
				return false
			}
		}
		return true
	case Merge:
		return s.merge(from, to, b)
	}
	if !write(to, b[:at]) {
		return false
	}
	switch kind {
	case Reset:
		s.reset()
		return false
	case HalfClose:
		_ = to.CloseWrite()
		time.AfterFunc(time.Duration(luck*float64(longest)), s.end)
		return false
	case Stall:
		silence := time.Duration(luck * float64(longest))
		s.mu.Lock()
		s.until = time.Now().Add(silence)
		s.mu.Unlock()
		time.Sleep(silence)
		if luck > 0.5 {
			s.reset()
			return false
		}
	case Delay:
		time.Sleep(time.Duration(luck * float64(lateness)))
	}
	return write(to, b[at:])
}

// hit counts a fault and plans the next.
func (s *session) hit(k Kind) {
	s.p.hits[k].Add(1)
	s.mu.Lock()
	s.plan()
	s.mu.Unlock()
}

// merge holds replies until no more come.
func (s *session) merge(from, to stream, b []byte) bool {
	held := bytes.Clone(b)
	more := make([]byte, 4<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(settle))
		n, err := from.Read(more)
		s.mu.Lock()
		s.track.replies(more[:n])
		s.mu.Unlock()
		held = append(held, more[:n]...)
		if err != nil {
			break // an end of the connection comes again
		}
	}
	_ = from.SetReadDeadline(time.Time{})
	return write(to, held)
}

// double sends a reply twice, if the client is owed nothing.
func (s *session) double(to stream, b []byte) bool {
	time.Sleep(settle)
	s.mu.Lock()
	again := s.track.doublable()
	if again {
		b = append(bytes.Clone(b), s.track.last...)
		s.strayed = time.Now().Add(-grace) // one segment: nothing can have crossed it
	}
	s.mu.Unlock()
	if again {
		s.hit(Double)
	}
	return write(to, b)
}

// stray sends a reply that answers nothing at a pause behind a message.
func (s *session) stray(to stream, b []byte, kind Kind, luck float64) bool {
	if !write(to, b) {
		return false
	}
	s.mu.Lock()
	ok := s.track.rests()
	s.mu.Unlock()
	if !ok {
		return true
	}
	time.Sleep(time.Duration(luck * float64(lateness)))
	s.mu.Lock()
	ok = s.track.rests()
	if ok {
		// Under the lock: what comes next comes after it.
		if kind == Part {
			s.cut.cutNext()
			time.AfterFunc(grace+lateness, func() { _, _ = s.cut.Write(nil) })
		}
		ok = write(to, []byte("250 2.0.0 Ok\r\n"))
		s.strayed = time.Now()
	}
	s.mu.Unlock()
	if ok {
		s.hit(kind)
	}
	return true
}

// shifted is what becomes of commands behind a reply too many. A client that
// believed it is one reply ahead: each last octet stays here, so that the reply
// to its RCPT seems to confirm a message that the provider will never have. The
// session ends with it: another octet would complete the message, and hide that
// the client has believed in it too early.
func (s *session) shifted(to stream, b []byte, strayed time.Time) bool {
	if time.Since(strayed) < grace {
		s.p.mu.Lock()
		s.p.crossed[s.track.subject] = true
		s.p.mu.Unlock()
		s.reset()
		return false
	}
	time.AfterFunc(longest, s.reset)
	s.mu.Lock()
	if s.lost {
		s.mu.Unlock()
		s.reset()
		return false
	}
	s.lost = s.track.ends()
	kept := s.kept
	s.kept = bytes.Clone(b[len(b)-1:])
	s.mu.Unlock()
	return write(to, append(kept, b[:len(b)-1]...))
}

func write(to net.Conn, b []byte) bool {
	_, err := to.Write(b)
	return err == nil
}
