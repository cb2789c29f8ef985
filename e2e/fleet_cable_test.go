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

//go:build unix

package e2e

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// cable is the network between one node and one database. What it is given
// while it holds something back is late, not lost, as TCP has it: an answer, or a
// statement, that comes when its sender has long given up.
type cable struct {
	t      testing.TB
	ln     net.Listener
	target string

	mu     sync.Mutex
	change chan struct{} // closed when how is another
	how    cut
	open   map[*net.TCPConn]struct{}
	wg     sync.WaitGroup
}

// cut is what is wrong with a cable. The zero value is that of one which is whole.
type cut struct {
	up, down bool          // what goes to the database, or comes from it, is held back
	reset    bool          // every connection is reset
	late     time.Duration // what goes either way is late by up to as much
}

func newCable(t testing.TB, target string) *cable {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{t: t, ln: ln, target: target, change: make(chan struct{}), open: make(map[*net.TCPConn]struct{})}
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		ln.Close()
		c.set(cut{reset: true})
		c.wg.Wait()
	})
	return c
}

func (c *cable) addr() string { return c.ln.Addr().String() }

// set has it be cut as told.
func (c *cable) set(how cut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.how = how
	close(c.change)
	c.change = make(chan struct{})
	if how.reset {
		for conn := range c.open {
			_ = conn.SetLinger(0)
			conn.Close()
		}
	}
}

func (c *cable) now() (cut, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.how, c.change
}

// adopt notes a connection; it is closed at once if all are reset.
func (c *cable) adopt(conn net.Conn) *net.TCPConn {
	tcp := conn.(*net.TCPConn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.how.reset {
		_ = tcp.SetLinger(0)
		tcp.Close()
	}
	c.open[tcp] = struct{}{}
	return tcp
}

func (c *cable) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		near := c.adopt(conn)
		c.wg.Go(func() { c.serve(near) })
	}
}

func (c *cable) serve(near *net.TCPConn) {
	ends := []*net.TCPConn{near}
	if conn, err := net.Dial("tcp", c.target); err == nil {
		far := c.adopt(conn)
		ends = append(ends, far)
		var wg sync.WaitGroup
		wg.Go(func() { c.pump(near, far, func(how cut) bool { return how.up }) })
		wg.Go(func() { c.pump(far, near, func(how cut) bool { return how.down }) })
		wg.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range ends {
		conn.Close()
		delete(c.open, conn)
	}
}

// pump carries one direction. Its end is carried as what came before it.
func (c *cable) pump(from, to *net.TCPConn, held func(cut) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		how, change := c.now()
		for held(how) && !how.reset {
			<-change
			how, change = c.now()
		}
		if how.late > 0 {
			time.Sleep(rand.N(how.late)) //nolint:gosec // a test's fault
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				_ = from.CloseRead()
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				_ = to.CloseWrite()
			} else {
				to.Close()
			}
			return
		}
	}
}
