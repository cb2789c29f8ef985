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

package front

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/generation"
)

// Generation is one server of one configuration, at work.
type Generation struct {
	// Protocol and Server name the server: what is shared between its
	// generations goes by the two.
	Protocol, Server string
	// Handler speaks the protocol.
	Handler Handler
	// Limits bound the server's connections.
	Limits Limits
	// Banned reports whether a client is to be refused. Optional.
	Banned func(netip.Addr) bool
	// Logger is for what concerns the sockets.
	Logger *zap.Logger

	counters *counters // shared by the server's generations
	wrapped  []*virtualListener
}

// Handler speaks a protocol with the connections of one generation.
type Handler interface {
	// Serve speaks with an admitted client and returns when that is over.
	// The connection is closed then.
	Serve(c *Conn)
	// Refuse tells a client why it is not admitted, in the protocol's words
	// and without waiting for it. The front closes the connection.
	Refuse(nc net.Conn, remote netip.Addr, why Reason)
}

// Session is what the front needs to know of a client's session: how to end it.
type Session interface {
	// Drain ends the session at its next boundary, at once if it is idle.
	Drain()
	// Kill ends the session without regard to what it is doing.
	Kill()
}

// Point is where connections meet the configuration: a listening address, or
// a server whose connections something else accepts. It survives reloads; the
// generations of its server come and go.
type Point struct {
	gens generation.Stack[*Generation]

	mu       sync.Mutex
	sessions map[Session]struct{}
	empty    chan struct{} // closed when the last session ends, if someone waits
}

// NewPoint makes a point without a generation.
func NewPoint() *Point { return &Point{sessions: make(map[Session]struct{})} }

// Current returns the generation in force, or nil if the server is gone.
func (p *Point) Current() *Generation {
	g, _ := p.gens.Current()
	return g
}

// Attach puts a generation in force. One that came by itself, not with the
// function Attach, counts its connections alone.
func (p *Point) Attach(g *Generation) {
	p.gens.Attach(g, func(bool) {
		if g.counters == nil {
			g.counters = new(counters)
		}
	})
}

// Detach takes a generation back. The one before it is in force again if it
// is still there: the new configuration has failed to start.
func (p *Point) Detach(g *Generation) { p.gens.Detach(g, nil) }

// Drain ends the sessions of a point whose server is gone: idle ones at once,
// the others after what they are doing, all of them after the timeout. It does
// not wait.
func (p *Point) Drain(timeout time.Duration) {
	for _, s := range p.Sessions() {
		s.Drain()
	}
	pendingDrains.Go(func() {
		deadline := time.NewTimer(timeout)
		defer deadline.Stop()
		empty := p.WhenEmpty()
		select {
		case <-empty:
			return
		case <-deadline.C:
		}
		for _, s := range p.Sessions() {
			s.Kill()
		}
		// What is left has lost its connection and its context.
		deadline.Reset(killGrace)
		select {
		case <-empty:
		case <-deadline.C:
		}
	})
}

// killGrace is how long sessions that were killed may take to notice.
const killGrace = 5 * time.Second

// pendingDrains are the drains of this and of earlier configurations, so that
// the process waits for all of them when it exits.
var pendingDrains sync.WaitGroup

// AwaitDrains waits until no point is being drained, those of earlier
// configurations included.
func AwaitDrains() { pendingDrains.Wait() }

// WhenEmpty returns a channel that is closed once the point has no session.
func (p *Point) WhenEmpty() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.empty == nil {
		p.empty = make(chan struct{})
		if len(p.sessions) == 0 {
			close(p.empty)
			defer func() { p.empty = nil }()
		}
	}
	return p.empty
}

// Sessions returns the sessions at the moment, in no order.
func (p *Point) Sessions() []Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Session, 0, len(p.sessions))
	for s := range p.sessions {
		list = append(list, s)
	}
	return list
}

// Add makes a session known. If the server went while its connection was on
// its way, or sessions are handed on to other nodes, it is drained at once.
func (p *Point) Add(s Session) {
	p.mu.Lock()
	p.sessions[s] = struct{}{}
	p.mu.Unlock()
	if p.Current() == nil || handsOn.Load() {
		s.Drain()
	}
}

// Remove forgets a session that has ended.
func (p *Point) Remove(s Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
	if len(p.sessions) == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
}
