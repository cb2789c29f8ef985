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
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// ending says how a connection ended, as the metrics call it.
type ending = smtpserver.End

// endLimit is a connection beyond a limit.
const endLimit ending = "limit"

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
	if end := g.enter(nc, remote); end == "" {
		go func() {
			defer g.counters.give()
			p.serve(g, nc, remote, nil)
		}()
	}
}

// enter takes a place for a connection, or refuses it.
func (g *generation) enter(nc net.Conn, remote netip.Addr) ending {
	if !g.counters.take(g.policy.maxConns) {
		return g.refuse(nc, relay.ReplyTooManyConns, endLimit)
	}
	if end := g.enterIP(nc, remote); end != "" {
		g.counters.give()
		return end
	}
	return ""
}

// enterIP takes a place for a client's connection, or refuses it.
func (g *generation) enterIP(nc net.Conn, remote netip.Addr) ending {
	key := clientKey(remote)
	if key.IsValid() && failures.banned(addressKey(key), time.Now()) {
		return g.refuse(nc, relay.ReplyBanned, smtpserver.EndBanned)
	}
	if !g.counters.takeIP(key, g.policy.maxPerIP) {
		return g.refuse(nc, relay.ReplyTooManyConns, endLimit)
	}
	return ""
}

// admitWrapped gives a connection to the generation's listener wrappers. It
// takes its place before them, since they may wait for a header, and gives it
// back when it closes, since they may close it themselves. It tells whether
// the connection has been dealt with.
func (g *generation) admitWrapped(v *virtualListener, nc net.Conn) bool {
	if !g.counters.take(g.policy.maxConns) {
		g.refuse(nc, relay.ReplyTooManyConns, endLimit)
		return true
	}
	if v.offer(&placedConn{Conn: nc, counters: g.counters}) {
		return true
	}
	g.counters.give()
	return false
}

// placedConn has a place in the counters until it closes.
type placedConn struct {
	net.Conn
	counters *counters
	once     sync.Once
}

// Close implements net.Conn.
func (c *placedConn) Close() error {
	c.once.Do(c.counters.give)
	return c.Conn.Close()
}

// serveWrapped serves a connection out of a listener wrapper. To ask for its
// address may mean to wait for a PROXY header.
func (p *point) serveWrapped(g *generation, nc net.Conn) {
	remote := remoteAddr(nc)
	if now := p.current(); now != nil {
		g = now
	}
	if g.enterIP(nc, remote) == "" {
		p.serve(g, nc, remote, nil)
	}
}

// refuse says why and closes. A client of implicit TLS could not read it.
func (g *generation) refuse(nc net.Conn, r *relay.Reply, end ending) ending {
	g.metrics.session(g.name, end)
	if g.policy.ImplicitTLS == nil {
		_ = nc.SetWriteDeadline(time.Now().Add(refuseTimeout))
		_, _ = nc.Write(r.Append(nil))
	}
	_ = nc.Close()
	return end
}

// serve runs a session to its end. The connection has its places in the
// counters already; the client's is given back.
func (p *point) serve(g *generation, nc net.Conn, remote netip.Addr, state *tls.ConnectionState) {
	c := g.counters
	defer c.giveIP(clientKey(remote))
	g.metrics.active(g.name, 1)
	defer g.metrics.active(g.name, -1)

	ctx, cancel := context.WithCancel(context.Background())
	s := &session{
		ctx: ctx, cancel: cancel, id: newID(), point: p, remote: remote, address: remote.String(),
		opened: time.Now(), local: isLocal(nc), server: g.name,
	}
	s.conn = smtpserver.New(nc, s, &g.policy.Config, state)
	s.state.tls = state != nil
	p.add(s)
	end := smtpserver.EndPanic
	defer func() {
		r := recover()
		p.remove(s)
		s.cancel()
		g.metrics.session(g.name, end)
		g.logEnd(s, end)
		if r != nil {
			g.logPanic(s, r)
		}
	}()
	if p.current() == nil {
		// The server went while this connection was on its way.
		s.conn.Drain()
	}
	end = s.conn.Serve()
}

// isLocal tells whether a connection does not leave the machine by its kind.
func isLocal(nc net.Conn) bool {
	_, ok := nc.RemoteAddr().(*net.UnixAddr)
	return ok
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
