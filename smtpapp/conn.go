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
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// refuseTimeout bounds the 421 to a client that is one too many. The reply
// fits the empty send buffer of a new connection, so it does not wait.
const refuseTimeout = time.Second

var (
	// idPrefix tells the ids of one process from those of another.
	idPrefix  = newIDPrefix()
	idCounter atomic.Uint64
)

func newIDPrefix() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return strconv.FormatUint(uint64(binary.BigEndian.Uint32(b[:])), 36) + "-"
}

func newID() string { return idPrefix + strconv.FormatUint(idCounter.Add(1), 36) }

// admit checks the limits for a connection and serves it. It does not wait.
func (p *point) admit(g *generation, nc net.Conn) {
	remote := remoteAddr(nc)
	refusal, end := g.limit(remote)
	if refusal != nil {
		refuseConn(g, nc, refusal)
		g.metrics.session(g.name, end)
		return
	}
	go p.serve(g, nc, remote, nil, false)
}

// serveWrapped is admit for a connection out of a listener wrapper: to ask
// for its address may mean to wait for a PROXY header.
func (p *point) serveWrapped(g *generation, nc net.Conn) {
	remote := remoteAddr(nc)
	if now := p.current(); now != nil {
		g = now
	}
	refusal, end := g.limit(remote)
	if refusal != nil {
		refuseConn(g, nc, refusal)
		g.metrics.session(g.name, end)
		return
	}
	p.serve(g, nc, remote, nil, false)
}

// limit takes a place for a connection, or says why there is none.
func (g *generation) limit(remote netip.Addr) (*relay.Reply, ending) {
	key := clientKey(remote)
	if key.IsValid() && failures.banned("address "+key.String(), time.Now()) {
		return relay.ReplyBanned, endBanned
	}
	if !g.counters.take(key, g.policy.maxConns, g.policy.maxPerIP) {
		return relay.ReplyTooManyConns, endLimit
	}
	return nil, ""
}

// refuseConn says why and closes. A client of implicit TLS could not read it.
func refuseConn(g *generation, nc net.Conn, r *relay.Reply) {
	if g.policy.implicitTLS == nil {
		_ = nc.SetWriteDeadline(time.Now().Add(refuseTimeout))
		_, _ = nc.Write(r.Append(nil))
	}
	_ = nc.Close()
}

// serve runs a session to its end. The connection has its place in the
// counters already.
func (p *point) serve(g *generation, nc net.Conn, remote netip.Addr, state *tls.ConnectionState, outerTLS bool) {
	c := g.counters
	defer c.give(clientKey(remote))
	g.metrics.active(g.name, 1)
	defer g.metrics.active(g.name, -1)

	l := &loop{p: g.policy}
	l.w.init(nc)
	l.w.tls = state
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{
		ctx: ctx, cancel: cancel, id: newID(), point: p, remote: remote,
		opened: time.Now(), wire: &l.w,
		isTLS: func() bool { return l.w.tls != nil },
	}
	s.state.tls = state != nil
	l.s = s
	p.add(s)
	end := ending("panic")
	defer func() {
		r := recover()
		p.remove(s)
		_ = s.Logout()
		_ = l.w.nc.Close()
		l.w.release()
		g.metrics.session(g.name, end)
		if r != nil {
			g.logPanic(s, r)
		}
	}()
	if p.current() == nil {
		// The server went while this connection was on its way.
		l.w.drain()
	}
	if g.policy.implicitTLS != nil && !outerTLS {
		if err := l.w.startTLS(g.policy.implicitTLS, g.policy.handshakeTimeout()); err != nil {
			end = endTLS
			return
		}
		s.state.tls = true
	}
	end = l.serve()
}

// remoteAddr returns the client's IP address; it is not valid for unix
// sockets.
func remoteAddr(nc net.Conn) netip.Addr {
	switch a := nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case nil:
		return netip.Addr{}
	default:
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return netip.Addr{}
		}
		return ap.Addr().Unmap()
	}
}
