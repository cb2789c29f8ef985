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
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// ending says how a connection ended, as the metrics call it.
type ending = smtpserver.End

const (
	// endLimit is a connection beyond a limit.
	endLimit ending = "limit"
	// endLoginGone is the end of a session whose login holds no longer.
	endLoginGone ending = "login_gone"
	// endEnded is a session that the operator has ended.
	endEnded ending = "ended"
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

// Refuse implements front.Handler. A client of implicit TLS could not read the
// reply, so it hears none.
func (g *generation) Refuse(nc net.Conn, remote netip.Addr, why front.Reason) {
	end, cause, reply := endLimit, causeLimit, relay.ReplyTooManyConns
	if why == front.Banned {
		end, cause, reply = smtpserver.EndBanned, causeBanned, relay.ReplyBanned
	}
	g.metrics.session(g.name, end)
	g.refused(func() *generation { return nil }, refusal{
		Refusal: smtpserver.Refusal{Cause: cause, Reply: reply}, client: remote,
	})
	if g.policy.ImplicitTLS == nil {
		_ = nc.SetWriteDeadline(time.Now().Add(refuseTimeout))
		_, _ = nc.Write(reply.Append(nil))
	}
}

// Serve implements front.Handler: it runs a session to its end.
func (g *generation) Serve(c *front.Conn) {
	g.metrics.active(g.name, 1)
	s := g.begin(c)
	s.end = smtpserver.EndPanic
	defer g.ended(s)
	s.end = s.conn.Serve()
}

// begin makes a session and enters it where sessions are listed. The stack of a
// session stays as deep as Serve is while its client is idle: what only its
// beginning and its end need is not in there.
//
//go:noinline
func (g *generation) begin(c *front.Conn) *session {
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{
		ctx: ctx, cancel: cancel, id: newID(), point: &point{c.Point}, place: c, remote: c.Remote, address: c.Remote.String(),
		opened: time.Now(), local: c.Local, server: g.name,
	}
	s.conn = smtpserver.New(c.Conn, s, &g.policy.Config, c.TLS)
	s.state.tls = c.TLS != nil
	s.asked, s.handshake = g.policy, g.policy
	c.Point.Add(s)
	c.AddGuest(s)
	return s
}

// ended takes leave of a session; deferred, for it may have panicked.
//
//go:noinline
func (g *generation) ended(s *session) {
	r := recover()
	s.point.Remove(s)
	s.cancel()
	g.metrics.session(g.name, s.end)
	g.logEnd(s, s.end)
	if r != nil {
		g.logPanic(s, r)
	}
	g.metrics.active(g.name, -1)
}

// Drain implements front.Session.
func (s *session) Drain() { s.conn.Drain() }

// CrowdOut implements front.Guest.
func (s *session) CrowdOut() {
	if g := s.point.current(); g != nil {
		// What is bound to the session is its own goroutine's.
		g.refused(s.point.current, refusal{
			Refusal: smtpserver.Refusal{Cause: causeBeforeLogin, Reply: relay.ReplyTooManyConns}, client: s.remote, session: s.id,
		})
	}
	s.conn.DrainWith(errCrowdedOut)
}

// Kill implements front.Session.
func (s *session) Kill() {
	s.cancel()
	s.conn.Kill()
}

// clientKey is what limits and bans count as one client.
func clientKey(a netip.Addr) netip.Prefix { return front.ClientPrefix(a) }

// Interface guards
var (
	_ front.Handler = (*generation)(nil)
	_ front.Session = (*session)(nil)
	_ front.Guest   = (*session)(nil)
)
