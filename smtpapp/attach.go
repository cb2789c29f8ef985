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
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/relay"
)

// point is where a session's connection came in, and with that the way to what
// is in force now.
type point struct{ *front.Point }

// current returns the generation in force, or nil if the server is gone.
func (p *point) current() *generation {
	f := p.Current()
	if f == nil {
		return nil
	}
	g, _ := f.Handler.(*generation)
	return g
}

// attach puts a server to work.
func (a *App) attach(name string, srv *Server) error {
	upstream, err := a.upstreamFor(srv)
	if err != nil {
		return err
	}
	g := &generation{
		name: name, policy: srv.prov.policy, directory: a.directory, upstream: upstream,
		metrics: processMetrics, logger: a.logger, access: a.logger.Named("log.access"), tracing: a.tracing,
		refusals: processRefusals, guard: processGuard, messages: a.messages,
	}
	g.single, _ = upstream.(relay.SingleFlight)
	g.warmer, _ = upstream.(relay.Warmer)
	at, err := front.Attach(g.newFront(), front.Listen{Addrs: srv.prov.addrs, Wrappers: srv.prov.wrappers})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.running = append(a.running, at)
	a.mu.Unlock()
	return nil
}

// upstreamFor returns the upstreams as the accounts of a server see them.
func (a *App) upstreamFor(srv *Server) (relay.Upstream, error) {
	if srv.Spool == "" || srv.Spool == accounts.SpoolOff {
		return a.upstream, nil
	}
	s, ok := a.upstream.(relay.Spooler)
	if !ok {
		return nil, fmt.Errorf("spool: the smtp_upstreams app is a %T, which keeps no mail", a.upstream)
	}
	u, err := s.Spooled(srv.Spool)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return u, nil
}

// newFront makes the generation known to the front.
func (g *generation) newFront() *front.Generation {
	g.front = &front.Generation{
		Protocol: "smtp", Server: g.name, Handler: g, Logger: g.logger,
		Limits: front.Limits{Conns: g.policy.maxConns, ConnsPerIP: g.policy.maxPerIP, Guests: g.policy.maxGuests},
		Banned: func(remote netip.Addr) bool { return g.guard.Banned(g.name, remote, &g.policy.guard) },
	}
	return g.front
}

// detachAll gives back exactly what Start took, also if it failed halfway.
func (a *App) detachAll() {
	timeout := time.Duration(a.DrainTimeout)
	a.mu.Lock()
	running := a.running
	a.running = nil
	a.mu.Unlock()
	for _, at := range running {
		at.Detach(timeout)
	}
}

// attachments returns what serves at the moment.
func (a *App) attachments() []*front.Attachment {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*front.Attachment(nil), a.running...)
}

// ServeConn serves a connection that something else has accepted, as the
// named server would, and returns when it ends; nc is closed then. Where TLS
// ends before us, state says what was agreed.
func (a *App) ServeConn(server string, nc net.Conn, state *tls.ConnectionState) error {
	for _, at := range a.attachments() {
		if at.Server() == server {
			return at.ServeConn(nc, state)
		}
	}
	_ = nc.Close()
	return fmt.Errorf("server %q is not running", server)
}
