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
	"bytes"
	"container/list"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/caddymail/mailgateway/internal/rawread"
)

// Reason says why a connection is refused.
type Reason string

// Why connections are refused.
const (
	TooMany Reason = "limit"  // one more than the limits allow
	Banned  Reason = "banned" // from an address that guessed passwords
)

// Conn is an admitted connection with its place in the server's counters.
type Conn struct {
	net.Conn
	// Point is where the connection came in.
	Point *Point
	// Remote is the client's IP address; it is not valid for unix sockets.
	Remote netip.Addr
	// Local says that the connection cannot leave the machine.
	Local bool
	// TLS is what was agreed, where TLS ended before the front; else nil.
	TLS *tls.ConnectionState

	guests    *guests
	maxGuests int
	place     *list.Element // among the guests; nil without one
}

// Admit checks the limits for a connection and has it served, or refuses it.
// It does not wait.
func (p *Point) Admit(g *Generation, nc net.Conn) {
	c := newConn(p, nc)
	if g.enter(c) {
		go func() {
			defer g.counters.give()
			g.serve(c)
		}()
	}
}

// Serve is Admit for a caller that waits until the connection has ended; nc is
// closed then. Where TLS ends before the front, state says what was agreed.
func (p *Point) Serve(g *Generation, nc net.Conn, state *tls.ConnectionState) {
	c := newConn(p, nc)
	c.TLS = state
	if g.enter(c) {
		defer g.counters.give()
		g.serve(c)
	}
}

// Load returns how busy the server is, whichever generation admitted what is
// there.
func (g *Generation) Load() Load { return g.counters.load() }

func newConn(p *Point, nc net.Conn) *Conn {
	c := &Conn{Conn: nc, Point: p, Remote: RemoteAddr(nc)}
	if _, ok := nc.RemoteAddr().(*net.UnixAddr); ok {
		// A PROXY header may say so of a client of another machine's: the proxy's
		// address stands for it then.
		under := rawread.Beneath(nc)
		_, c.Local = under.RemoteAddr().(*net.UnixAddr)
		c.Remote = RemoteAddr(under)
	}
	return c
}

// serve runs an admitted connection to its end. The client's place is given
// back, the server's is the caller's.
func (g *Generation) serve(c *Conn) {
	defer g.counters.giveIP(c.Remote)
	c.guests, c.maxGuests = &g.counters.guests, g.Limits.Guests
	defer c.RemoveGuest()
	g.Handler.Serve(c)
}

// enter takes a place for a connection, or refuses it.
func (g *Generation) enter(c *Conn) bool {
	if !g.counters.take(g.Limits.Conns) {
		g.refuse(c.Conn, c.Remote, TooMany)
		return false
	}
	if !g.enterClient(c) {
		g.counters.give()
		return false
	}
	return true
}

// enterClient takes a place for a client's connection, or refuses it.
func (g *Generation) enterClient(c *Conn) bool {
	if g.Banned != nil && g.Banned(c.Remote) {
		g.refuse(c.Conn, c.Remote, Banned)
		return false
	}
	if !g.counters.takeIP(c.Remote, g.Limits.ConnsPerIP) {
		g.refuse(c.Conn, c.Remote, TooMany)
		return false
	}
	return true
}

func (g *Generation) refuse(nc net.Conn, remote netip.Addr, why Reason) {
	g.Handler.Refuse(nc, remote, why)
	_ = nc.Close()
}

// admitWrapped gives a connection to the generation's listener wrappers. It
// takes its place before them, since they may wait for a header, and gives it
// back when it closes, since they may close it themselves. It reports whether
// the connection has been dealt with.
func (g *Generation) admitWrapped(v *virtualListener, nc net.Conn) bool {
	c := g.counters
	if !c.take(g.Limits.Conns) {
		g.refuse(nc, RemoteAddr(nc), TooMany)
		return true
	}
	if v.offer(&placedConn{Conn: nc, counters: c}) {
		return true
	}
	c.give()
	return false
}

// placedConn has a place in the counters until it closes.
type placedConn struct {
	net.Conn
	counters *counters
	once     sync.Once
	begun    bool // something was read
}

// Raw returns the connection beneath, as listener wrappers do: the socket is
// looked at through it.
func (c *placedConn) Raw() net.Conn { return c.Conn }

// Close implements net.Conn.
func (c *placedConn) Close() error {
	c.once.Do(c.counters.give)
	return c.Conn.Close()
}

// proxyLine begins a PROXY header of version 1, and maxProxyLine is the longest
// one (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, 2.1).
const (
	proxyLine    = "PROXY "
	maxProxyLine = 107
)

// Read implements net.Conn. A PROXY header of version 1 that came in several
// packets is given to the wrapper in one piece: go-proxyproto takes it in no
// other way. How long that may last is the wrapper's affair, whose deadline it is.
func (c *placedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.begun {
		return n, err
	}
	c.begun = true
	for err == nil && n < min(len(p), maxProxyLine) && unfinishedProxyLine(p[:n]) {
		var more int
		more, err = c.Conn.Read(p[n:])
		n += more
	}
	if n > 0 {
		return n, nil // the next read has the error again
	}
	return 0, err
}

// unfinishedProxyLine reports whether b begins a header that has no end yet.
func unfinishedProxyLine(b []byte) bool {
	head := b[:min(len(b), len(proxyLine))]
	return strings.HasPrefix(proxyLine, string(head)) && bytes.IndexByte(b, '\n') < 0
}

// serveWrapped serves a connection out of a listener wrapper. To ask for its
// address may mean to wait for a PROXY header.
func (p *Point) serveWrapped(g *Generation, nc net.Conn) {
	c := newConn(p, nc)
	if now := p.Current(); now != nil {
		g = now
	}
	if g.enterClient(c) {
		g.serve(c)
	}
}

// RemoteAddr returns the client's IP address, without a zone, which no network of the
// configuration has; it is not valid for unix sockets.
func RemoteAddr(nc net.Conn) netip.Addr {
	switch a := nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case nil:
		return netip.Addr{}
	default:
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return netip.Addr{}
		}
		return ap.Addr().Unmap().WithZone("")
	}
}
