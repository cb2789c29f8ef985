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

	"github.com/caddymail/mailgateway/internal/breaker"
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
	login   *login // of each new connection, or nil
	slots   chan struct{}
	wait    time.Duration // for one of them
	ended   chan struct{}

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

// newPool returns a pool of so many connections. Each server has its own timeout: one
// that hangs leaves the next one its time, and whoever waits for a connection meanwhile.
func newPool(servers []*server, size int, timeout time.Duration, l *login) *pool {
	return &pool{
		servers: servers, login: l, wait: time.Duration(len(servers)+1) * timeout,
		slots: make(chan struct{}, size), ended: make(chan struct{}),
	}
}

// do has a connection do something. It may be done again with another one if the
// first does not answer.
func (p *pool) do(ctx context.Context, op func(*ldap.Conn) error) error {
	leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return p.with(ctx, op)
}

// enter waits for its turn.
func (p *pool) enter(ctx context.Context) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-p.ended:
		return nil, errClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("all %d connections are in use: %w", cap(p.slots), context.Cause(ctx))
	}
}

// with is do for who has entered.
func (p *pool) with(ctx context.Context, op func(*ldap.Conn) error) (err error) {
	// Each server once, and once more for what had been idle.
	for range len(p.servers) + 1 {
		var c conn
		if c, err = p.take(ctx); err != nil {
			return err
		}
		asked := time.Now()
		if err = op(c.Conn); !away(err) {
			p.give(c)
			return err
		}
		_ = c.Close()
		p.drop(c.server)
		// An idle connection may have ended long ago; a server that hangs does not tell.
		if c.fresh || time.Since(asked) >= c.server.timeout {
			c.server.done(breaker.Down, err, false)
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
	if p.login == nil {
		return p.dial(ctx)
	}
	leave, err := p.login.enter(ctx)
	if err != nil {
		return conn{}, err
	}
	defer leave()
	c, err := p.dial(ctx)
	return c, p.login.became(err)
}

func (p *pool) dial(ctx context.Context) (conn, error) {
	var refused, err error
	for _, s := range p.servers {
		_, ok, probe := s.breaker.Allow(now())
		if !ok {
			err = s.rests()
			continue
		}
		var c *ldap.Conn
		if c, err = s.dial(ctx); err == nil {
			if p.login != nil {
				err = p.login.bind(c)
			}
			if err == nil {
				s.done(breaker.Up, nil, probe)
				return conn{Conn: c, server: s, fresh: true}, nil
			}
			_ = c.Close()
		}
		outcome := breaker.Down
		switch {
		case !away(err):
			outcome = breaker.Up
		case ctx.Err() != nil:
			outcome = breaker.Neither // who asked has left
		}
		s.done(outcome, err, probe)
		if err = fmt.Errorf("%s: %w", s.url, err); isRefused(err) {
			refused = err
		}
	}
	if refused != nil {
		err = refused
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
