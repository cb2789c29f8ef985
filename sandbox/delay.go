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

package sandbox

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// delayConn pretends distance: what is written leaves one round-trip time
// after what was read last. Writers don't wait, so a connection's own work
// goes on meanwhile, and other connections never notice.
type delayConn struct {
	net.Conn
	rtt  time.Duration
	read atomic.Int64 // when the last read returned, nanoseconds since start
	born time.Time

	mu      sync.Mutex
	queue   []delayed
	running bool
	wg      *sync.WaitGroup
	closed  bool
	err     error
}

type delayed struct {
	due time.Time
	b   []byte
}

func newDelayConn(c net.Conn, rtt time.Duration, wg *sync.WaitGroup) *delayConn {
	// The banner of a connection that comes from afar arrives two round
	// trips after the first SYN; the first of them is TCP's.
	return &delayConn{Conn: c, rtt: rtt, born: time.Now(), wg: wg}
}

func (d *delayConn) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	d.read.Store(int64(time.Since(d.born)))
	return n, err
}

func (d *delayConn) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0, d.err
	}
	if d.closed {
		return 0, net.ErrClosed
	}
	after := time.Duration(d.read.Load()) + d.rtt
	if d.read.Load() == 0 {
		after += d.rtt
	}
	d.queue = append(d.queue, delayed{due: d.born.Add(after), b: append([]byte(nil), p...)})
	if !d.running {
		d.running = true
		d.wg.Go(d.run)
	}
	return len(p), nil
}

// run writes what is queued and ends when there is nothing left.
func (d *delayConn) run() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 || d.err != nil {
			d.running = false
			closed := d.closed
			d.mu.Unlock()
			if closed {
				_ = d.Conn.Close()
			}
			return
		}
		next := d.queue[0]
		d.queue = d.queue[1:]
		d.mu.Unlock()
		time.Sleep(time.Until(next.due))
		if _, err := d.Conn.Write(next.b); err != nil {
			d.mu.Lock()
			d.err = err
			d.mu.Unlock()
		}
	}
}

// Close lets what is queued leave first.
func (d *delayConn) Close() error {
	d.mu.Lock()
	d.closed = true
	running := d.running
	d.mu.Unlock()
	if running {
		return nil
	}
	return d.Conn.Close()
}
