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
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// servers holds what outlives a configuration, by protocol and server: the
// connection counters, and the point where connections come in that something
// else has accepted.
var servers = caddy.NewUsagePool()

type shared struct {
	*Point
	counters counters
}

// Destruct implements caddy.Destructor.
func (*shared) Destruct() error { return nil }

func (g *Generation) key() string { return g.Protocol + "/" + g.Server }

// Listen says where a server listens.
type Listen struct {
	// Addrs are the addresses, each with all ports of its range.
	Addrs []caddy.NetworkAddress
	// Wrappers wrap each listener, the first one innermost.
	Wrappers []caddy.ListenerWrapper
}

// Attachment is what the start of one server took.
type Attachment struct {
	gen    *Generation
	shared *shared
	cores  []*core
	undo   []func()
}

// Attach opens a server's sockets, or takes over those that an earlier
// configuration has opened, and puts the generation in force. A failure leaves
// nothing behind.
func Attach(g *Generation, l Listen) (*Attachment, error) {
	v, _, err := servers.LoadOrNew(g.key(), func() (caddy.Destructor, error) {
		return &shared{Point: NewPoint()}, nil
	})
	if err != nil {
		return nil, err
	}
	at := &Attachment{gen: g, shared: v.(*shared)}
	g.counters = &at.shared.counters
	wrapped, err := at.open(l)
	if err != nil {
		at.Detach(0)
		return nil, err
	}
	for i, ln := range wrapped {
		go g.wrapped[i].serve(ln, g)
		at.undo = append(at.undo, func() { _ = ln.Close(); _ = g.wrapped[i].Close() })
	}
	at.shared.Attach(g)
	for _, c := range at.cores {
		c.Attach(g)
		c.start()
	}
	return at, nil
}

// open takes the sockets and returns the wrapped listeners over them.
func (at *Attachment) open(l Listen) (wrapped []net.Listener, err error) {
	for _, addr := range l.Addrs {
		for off := range addr.PortRangeSize() {
			c, err := openCore(addr, off)
			if err != nil {
				return nil, fmt.Errorf("listen %s: %w", addr.JoinHostPort(off), err)
			}
			at.cores = append(at.cores, c)
			if len(l.Wrappers) == 0 {
				continue
			}
			vl := newVirtualListener(c)
			var ln net.Listener = vl
			for _, w := range l.Wrappers {
				ln = w.WrapListener(ln)
			}
			at.gen.wrapped = append(at.gen.wrapped, vl)
			wrapped = append(wrapped, ln)
		}
	}
	return wrapped, nil
}

// Detach gives back exactly what Attach took. Where no other configuration has
// taken over, the sockets close and their sessions are drained.
func (at *Attachment) Detach(drain time.Duration) {
	for _, c := range at.cores {
		c.Detach(at.gen)
	}
	at.shared.Detach(at.gen)
	for _, f := range at.undo {
		f()
	}
	for _, c := range at.cores {
		// The socket closes before its sessions are drained, so that no
		// client comes in behind them.
		_, _ = listeners.Delete(c.key)
		if c.Current() == nil {
			c.Drain(drain)
		}
	}
	_, _ = servers.Delete(at.gen.key())
	if at.shared.Current() == nil {
		at.shared.Drain(drain)
	}
}

// Server returns the name of the server.
func (at *Attachment) Server() string { return at.gen.Server }

// Sessions returns the server's sessions, those that began under an earlier
// configuration included.
func (at *Attachment) Sessions() []Session {
	list := at.shared.Sessions()
	for _, c := range at.cores {
		list = append(list, c.Sessions()...)
	}
	return list
}

// Load returns how busy the server is.
func (at *Attachment) Load() Load { return at.gen.Load() }

// ServeConn serves a connection that something else has accepted, and returns
// when it ends; nc is closed then. Where TLS ends before us, state says what
// was agreed.
func (at *Attachment) ServeConn(nc net.Conn, state *tls.ConnectionState) error {
	g := at.shared.Current()
	if g == nil {
		_ = nc.Close()
		return fmt.Errorf("server %q has stopped", at.gen.Server)
	}
	at.shared.Serve(g, nc, state)
	return nil
}

// References returns how many configurations hold a socket (by ListenerKey) or
// a server (by protocol/name): one, but for the moment of a reload.
func References(key string) int {
	n, ok := listeners.References(key)
	if !ok {
		n, _ = servers.References(key)
	}
	return n
}
