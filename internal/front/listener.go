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
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/exhausted"
	"github.com/caddymail/mailgateway/internal/printable"
)

// listeners holds the sockets, keyed network/address. Plain Caddy listeners
// lose connections at each reload on Linux: the old socket's accept queue is
// reset. These stay open across reloads; what is behind them changes.
var listeners = caddy.NewUsagePool()

// core is one socket and its accept loop.
type core struct {
	*Point
	key  string
	ln   net.Listener
	once sync.Once
	done chan struct{}
}

// ListenerKey names a socket among those of the process.
func ListenerKey(addr caddy.NetworkAddress, offset uint) string {
	return addr.Network + "/" + addr.JoinHostPort(offset)
}

// openCore returns the core for an address, and opens it if it is new.
func openCore(addr caddy.NetworkAddress, offset uint) (*core, error) {
	key := ListenerKey(addr, offset)
	here := heldHere(addr, offset) // not below: the pool holds its lock there
	v, _, err := listeners.LoadOrNew(key, func() (caddy.Destructor, error) {
		if !here {
			if err := heldElsewhere(addr, offset); err != nil {
				return nil, err
			}
		}
		ln, err := addr.Listen(context.Background(), offset, net.ListenConfig{})
		if err != nil {
			return nil, err
		}
		l, ok := ln.(net.Listener)
		if !ok {
			return nil, fmt.Errorf("network %s is not stream-based", addr.Network)
		}
		c := &core{Point: NewPoint(), key: key, ln: l, done: make(chan struct{})}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*core), nil
}

// start runs the accept loop, once there is a generation to serve.
func (c *core) start() { c.once.Do(func() { go c.accept() }) }

// Destruct implements caddy.Destructor.
func (c *core) Destruct() error {
	err := c.ln.Close()
	c.once.Do(func() { close(c.done) }) // never started
	<-c.done
	return err
}

// accept hands each connection to the generation in force.
func (c *core) accept() {
	defer close(c.done)
	var pause time.Duration
	var said time.Time
	for {
		nc, err := c.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or the like. At the limit each connection that
			// ends lets one in, and the next fails again: that is said once.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if time.Since(said) >= complainEvery {
				said = time.Now()
				c.complain(err)
			}
			time.Sleep(pause)
			continue
		}
		pause = 0
		c.dispatch(nc)
	}
}

// complainEvery bounds the log lines about a listener that does not accept.
const complainEvery = 10 * time.Second

func (c *core) complain(err error) {
	fields := []zap.Field{zap.String("listener", c.key), zap.Error(err)}
	if exhausted.Is(err) {
		fields = append(fields, zap.String("remedy", "raise the limit of open files (LimitNOFILE of the service, ulimit -n), or lower max_conns of the servers and upstreams"))
	}
	c.logger().Error("accepting connection", fields...)
}

func (c *core) logger() *zap.Logger {
	if g := c.Current(); g != nil && g.Logger != nil {
		return g.Logger
	}
	return printable.Logger(caddy.Log())
}

// dispatch hands a connection to the generation in force, and to the next one
// if that goes away meanwhile.
func (c *core) dispatch(nc net.Conn) {
	for {
		g := c.Current()
		if g == nil {
			_ = nc.Close()
			return
		}
		v := g.wrapper(c)
		if v == nil {
			c.Admit(g, nc)
			return
		}
		if g.admitWrapped(v, nc) {
			return
		}
		if c.Current() == g {
			_ = nc.Close()
			return
		}
	}
}

// virtualListener feeds the listener wrappers of one generation. They belong
// to its configuration, the socket does not.
type virtualListener struct {
	core *core
	addr net.Addr
	ch   chan net.Conn

	closed chan struct{}
	once   sync.Once
}

func newVirtualListener(c *core) *virtualListener {
	return &virtualListener{core: c, addr: c.ln.Addr(), ch: make(chan net.Conn), closed: make(chan struct{})}
}

// offer hands a connection over, unless the listener is closed.
func (v *virtualListener) offer(nc net.Conn) bool {
	select {
	case v.ch <- nc:
		return true
	case <-v.closed:
		return false
	}
}

// Accept implements net.Listener.
func (v *virtualListener) Accept() (net.Conn, error) {
	select {
	case nc := <-v.ch:
		return nc, nil
	case <-v.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (v *virtualListener) Close() error {
	v.once.Do(func() { close(v.closed) })
	return nil
}

// Addr implements net.Listener.
func (v *virtualListener) Addr() net.Addr { return v.addr }

// serve accepts what comes out of the wrappers.
func (v *virtualListener) serve(wrapped net.Listener, g *Generation) {
	for {
		nc, err := wrapped.Accept()
		if err != nil {
			select {
			case <-v.closed:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// A wrapper refuses one connection, not the listener.
			continue
		}
		go v.core.serveWrapped(g, nc)
	}
}

func (g *Generation) wrapper(c *core) *virtualListener {
	for _, v := range g.wrapped {
		if v.core == c {
			return v
		}
	}
	return nil
}

// Interface guards
var (
	_ net.Listener     = (*virtualListener)(nil)
	_ caddy.Destructor = (*core)(nil)
)
