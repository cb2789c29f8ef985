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
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/relay"
)

// servers holds what outlives a configuration, by server name: the
// connection counters, and the point where caddy-l4's connections come in.
var servers = caddy.NewUsagePool()

type sharedServer struct {
	*point
	counters counters
}

// Destruct implements caddy.Destructor.
func (*sharedServer) Destruct() error { return nil }

// attachment is what Start took for one server.
type attachment struct {
	name   string
	gen    *generation
	shared *sharedServer
	cores  []*core
	undo   []func()
}

func (a *App) attach(name string, srv *Server) error {
	v, _, err := servers.LoadOrNew(name, func() (caddy.Destructor, error) {
		return &sharedServer{point: newPoint()}, nil
	})
	if err != nil {
		return err
	}
	shared := v.(*sharedServer)
	g := &generation{
		name: name, policy: srv.prov.policy, directory: a.directory, upstream: a.upstream,
		counters: &shared.counters, metrics: processMetrics,
		logger: a.logger, access: a.logger.Named("log.access"), tracing: a.tracing,
	}
	g.single, _ = a.upstream.(relay.SingleFlight)
	g.warmer, _ = a.upstream.(relay.Warmer)
	at := &attachment{name: name, gen: g, shared: shared}
	a.mu.Lock()
	a.running = append(a.running, at)
	a.mu.Unlock()
	var wrapped []net.Listener
	for i, addr := range srv.prov.addrs {
		for off := range addr.PortRangeSize() {
			c, err := openCore(addr, off)
			if err != nil {
				return fmt.Errorf("listen %s: %w", srv.Listen[i], err)
			}
			at.cores = append(at.cores, c)
			if len(srv.prov.wrappers) == 0 {
				continue
			}
			vl := newVirtualListener(c)
			var ln net.Listener = vl
			for _, w := range srv.prov.wrappers {
				ln = w.WrapListener(ln)
			}
			g.wrapped = append(g.wrapped, vl)
			wrapped = append(wrapped, ln)
		}
	}
	for i, ln := range wrapped {
		go g.wrapped[i].serve(ln, g)
		at.undo = append(at.undo, func() { _ = ln.Close(); _ = g.wrapped[i].Close() })
	}
	shared.attach(g)
	for _, c := range at.cores {
		c.attach(g)
		c.start()
	}
	return nil
}

// detachAll gives back exactly what Start took, also if it failed halfway.
func (a *App) detachAll() {
	timeout := time.Duration(a.DrainTimeout)
	a.mu.Lock()
	running := a.running
	a.running = nil
	a.mu.Unlock()
	for _, at := range running {
		for _, c := range at.cores {
			c.detach(at.gen)
		}
		at.shared.detach(at.gen)
		for _, f := range at.undo {
			f()
		}
		for _, c := range at.cores {
			// The socket closes before its sessions are drained, so
			// that nobody comes in behind them.
			_, _ = listeners.Delete(c.key)
			if c.current() == nil {
				c.drain(timeout)
			}
		}
		_, _ = servers.Delete(at.name)
		if at.shared.current() == nil {
			at.shared.drain(timeout)
		}
	}
}

// ServeConn serves a connection that something else has accepted, as the
// named server would, and returns when it ends; nc is closed then. Where TLS
// ends before us, state says what was agreed.
func (a *App) ServeConn(server string, nc net.Conn, state *tls.ConnectionState) error {
	shared := a.shared(server)
	if shared == nil {
		_ = nc.Close()
		return fmt.Errorf("server %q is not running", server)
	}
	g := shared.current()
	if g == nil {
		_ = nc.Close()
		return fmt.Errorf("server %q has stopped", server)
	}
	remote := remoteAddr(nc)
	if g.enter(nc, remote) == "" {
		defer g.counters.give()
		shared.serve(g, nc, remote, state)
	}
	return nil
}

func (a *App) shared(server string) *sharedServer {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.running {
		if at.name == server {
			return at.shared
		}
	}
	return nil
}
