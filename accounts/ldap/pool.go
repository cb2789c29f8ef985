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

package ldap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// maxIdle is how long a connection is kept that nobody uses: less than what
// directories and what stands in between allow.
const maxIdle = time.Minute

var errClosed = errors.New("the configuration that used it has ended")

// pool has the connections of one purpose: to read, bound as the source's own
// user, or to check passwords, bound as whoever was last. Nothing is ever read
// with one of the latter.
type pool struct {
	servers []*server
	// open is called with each new connection.
	open  func(*ldap.Conn) error
	slots chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	idle   []conn // the one that was used last is at the end
	closed bool
}

type conn struct {
	*ldap.Conn
	server *server
	used   time.Time
	fresh  bool // nothing was asked yet
}

func newPool(servers []*server, size int, open func(*ldap.Conn) error) *pool {
	return &pool{servers: servers, open: open, slots: make(chan struct{}, size), ended: make(chan struct{})}
}

// do has a connection do something. It may be done again with another one if the
// first does not answer.
func (p *pool) do(ctx context.Context, op func(*ldap.Conn) error) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.ended:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("all %d connections are in use: %w", cap(p.slots), context.Cause(ctx))
	}
	var err error
	// Each server once, and once more for what had been idle.
	for range len(p.servers) + 1 {
		var c conn
		if c, err = p.take(ctx); err != nil {
			return err
		}
		if err = op(c.Conn); !away(err) {
			p.give(c)
			return err
		}
		_ = c.Close()
		p.drop(c.server)
		if c.fresh {
			c.server.done(err, false)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// take returns an idle connection or a new one, to the first server that has one.
func (p *pool) take(ctx context.Context) (conn, error) {
	if c, ok := p.reuse(); ok {
		return c, nil
	}
	err := errors.New("all servers did not answer a moment ago")
	for _, s := range p.servers {
		_, ok, probe := s.breaker.Allow(now())
		if !ok {
			continue
		}
		var c *ldap.Conn
		if c, err = s.dial(ctx); err == nil {
			if err = p.open(c); err == nil || !away(err) {
				s.done(nil, probe)
			} else {
				s.done(err, probe)
			}
			if err == nil {
				return conn{Conn: c, server: s, fresh: true}, nil
			}
			_ = c.Close()
			err = fmt.Errorf("%s: %w", s.url, err)
			continue
		}
		s.done(err, probe)
		err = fmt.Errorf("%s: %w", s.url, err)
	}
	return conn{}, err
}

func (p *pool) reuse() (conn, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if !c.IsClosing() && time.Since(c.used) < maxIdle {
			return c, true
		}
		_ = c.Close()
	}
	return conn{}, false
}

func (p *pool) give(c conn) {
	c.used, c.fresh = time.Now(), false
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

// drop closes the idle connections to a server that ended one.
func (p *pool) drop(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.idle[:0]
	for _, c := range p.idle {
		if c.server == s {
			_ = c.Close()
		} else {
			kept = append(kept, c)
		}
	}
	p.idle = kept
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	close(p.ended)
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}
