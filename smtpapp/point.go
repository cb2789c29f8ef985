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
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// point is where connections meet the configuration: a listening address, or
// a server reached through caddy-l4. It survives reloads; the generations of
// its server come and go.
type point struct {
	cur atomic.Pointer[generation]

	mu       sync.Mutex
	gens     []*generation // the last one is in force
	sessions map[*session]struct{}
	empty    chan struct{} // closed when the last session ends, if someone waits
}

func newPoint() *point { return &point{sessions: make(map[*session]struct{})} }

// current returns the generation in force, or nil if the server is gone.
func (p *point) current() *generation { return p.cur.Load() }

// attach puts a generation in force.
func (p *point) attach(g *generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gens = append(p.gens, g)
	p.cur.Store(g)
}

// detach takes a generation back. The one before it is in force again if it
// is still there: the new configuration has failed to start.
func (p *point) detach(g *generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gens = slices.DeleteFunc(p.gens, func(x *generation) bool { return x == g })
	if n := len(p.gens); n > 0 {
		p.cur.Store(p.gens[n-1])
		return
	}
	p.cur.Store(nil)
}

// drain ends the sessions of a point whose server is gone: idle ones at once,
// the others after their message, all of them after the timeout. It does not
// wait.
func (p *point) drain(timeout time.Duration) {
	for _, s := range p.list() {
		s.conn.Drain()
	}
	pendingDrains.Go(func() {
		deadline := time.NewTimer(timeout)
		defer deadline.Stop()
		empty := p.whenEmpty()
		select {
		case <-empty:
			return
		case <-deadline.C:
		}
		for _, s := range p.list() {
			s.kill()
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

// whenEmpty returns a channel that is closed once there is no session.
func (p *point) whenEmpty() <-chan struct{} {
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

// pendingDrains are the drains of this and of earlier configurations, so that
// the process waits for all of them when it exits.
var pendingDrains sync.WaitGroup

func (p *point) list() []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		list = append(list, s)
	}
	return list
}

func (p *point) add(s *session) {
	p.mu.Lock()
	p.sessions[s] = struct{}{}
	p.mu.Unlock()
}

func (p *point) remove(s *session) {
	p.mu.Lock()
	delete(p.sessions, s)
	if len(p.sessions) == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
	p.mu.Unlock()
}

// kill ends a session without regard to what it is doing.
func (s *session) kill() {
	s.cancel()
	s.conn.Kill()
}

// counters are a server's connections. They outlive its generations.
type counters struct {
	mu    sync.Mutex
	total int
	perIP map[netip.Prefix]int
}

// take counts a connection, unless it is one too many.
func (c *counters) take(limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= limit {
		return false
	}
	c.total++
	return true
}

func (c *counters) give() {
	c.mu.Lock()
	c.total--
	c.mu.Unlock()
}

// takeIP counts a connection of one client.
func (c *counters) takeIP(ip netip.Prefix, limit int) bool {
	if !ip.IsValid() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.perIP[ip] >= limit {
		return false
	}
	if c.perIP == nil {
		c.perIP = make(map[netip.Prefix]int)
	}
	c.perIP[ip]++
	return true
}

func (c *counters) giveIP(ip netip.Prefix) {
	if !ip.IsValid() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.perIP[ip]--; c.perIP[ip] <= 0 {
		delete(c.perIP, ip)
	}
}

// clientKey is what limits and bans count: an IPv4 address or an IPv6 /64.
// It is not valid for addresses that are not IP.
func clientKey(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
