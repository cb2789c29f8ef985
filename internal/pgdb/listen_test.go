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

package pgdb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/testpg"
)

// openHeard is a database whose listeners are asked soon, and what is logged of them.
func openHeard(t *testing.T, dsn string) (*DB, *observer.ObservedLogs) {
	t.Helper()
	db, err := Config{DSN: dsn, Timeout: 0}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	db.timeout, db.silence = 2*time.Second, 50*time.Millisecond
	core, logs := observer.New(zapcore.WarnLevel)
	db.WarnUnheard(zap.New(core), "it is looked for")
	return db, logs
}

// findings are the doctor's about notifications.
func findings(t *testing.T, db *DB) (n int) {
	t.Helper()
	for _, f := range db.Examine(t.Context(), "it") {
		if f.Check == "notifications" && f.State == checkup.Warning {
			n++
		}
	}
	return n
}

// TestDeafPooler listens through PgBouncer in transaction mode, where LISTEN succeeds and
// nothing is heard: it does not pass for listening, a line is written of it once, and the
// doctor says it.
func TestDeafPooler(t *testing.T) {
	db, logs := openHeard(t, testpg.StartPooler(t, testpg.Start(t)))
	for range 2 {
		err := db.Listen(t.Context(), "c", func() { t.Error("it passes for listening") }, func(string) {})
		if !errors.Is(err, errDeaf) {
			t.Fatalf("%v", err)
		}
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines: %v", logs.Len(), logs.All())
	}
	if findings(t, db) != 1 {
		t.Errorf("the doctor: %+v", db.Examine(t.Context(), "it"))
	}
}

// TestSwallowed has something in front of the server that begins to swallow notifications, or
// to say nothing more at all: a listener ends when it is so, the next one hears nothing, and when
// they are carried again it is heard what is told.
func TestSwallowed(t *testing.T) {
	for _, dead := range []bool{false, true} {
		name := "notifications"
		if dead {
			name = "the connection"
		}
		t.Run(name, func(t *testing.T) {
			p := startDeafProxy(t, testpg.Start(t))
			db, logs := openHeard(t, p.dsn)
			listen := func(ctx context.Context) (began chan struct{}, heard chan string, ended chan error) {
				began, heard, ended = make(chan struct{}), make(chan string, 10), make(chan error, 1)
				go func() { ended <- db.Listen(ctx, "c", func() { close(began) }, func(s string) { heard <- s }) }()
				return began, heard, ended
			}
			tell := func(s string) {
				t.Helper()
				if err := db.Do(t.Context(), func(ctx context.Context, q Querier) error {
					_, err := q.Exec(ctx, "SELECT pg_notify('c', $1)", s)
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			began, heard, ended := listen(t.Context())
			<-began
			tell("one")
			if s := <-heard; s != "one" {
				t.Errorf("heard %q", s)
			}
			time.Sleep(4 * db.silence) // it goes on being asked, which is not told on
			if len(heard) > 0 {
				t.Errorf("heard %q", <-heard)
			}
			if dead {
				p.cut()
			} else {
				p.deaf.Store(true)
			}
			if err := <-ended; err == nil {
				t.Error("it passes for listening")
			}
			if !dead {
				if err := db.Listen(t.Context(), "c", func() { t.Error("it passes for listening") }, func(string) {}); !errors.Is(err, errDeaf) {
					t.Errorf("%v", err)
				}
				if logs.Len() != 1 || findings(t, db) != 1 {
					t.Errorf("%d lines, %d findings", logs.Len(), findings(t, db))
				}
				p.deaf.Store(false)
			}
			ctx, cancel := context.WithCancel(t.Context())
			for began = nil; began == nil; {
				began, heard, ended = listen(ctx)
				select {
				case <-began:
				case err := <-ended:
					// A connection of the pool is one of those that say nothing more: each
					// of them is found out once.
					if began = nil; !dead {
						t.Fatal(err)
					}
				}
			}
			tell("two")
			if s := <-heard; s != "two" {
				t.Errorf("heard %q", s)
			}
			if n := findings(t, db); n != 0 {
				t.Errorf("%d findings when it is over", n)
			}
			cancel()
			<-ended
		})
	}
}

// deafProxy is in front of a server, and does not carry notifications if it is deaf.
type deafProxy struct {
	dsn  string
	deaf atomic.Bool

	mu    sync.Mutex
	gone  chan struct{} // closed: the connections that there are say nothing more
	conns []net.Conn
	all   sync.WaitGroup
}

func startDeafProxy(t *testing.T, s *testpg.Server) *deafProxy {
	t.Helper()
	at, err := url.Parse(s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	behind := at.Host
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at.Host = ln.Addr().String()
	p := &deafProxy{dsn: at.String(), gone: make(chan struct{})}
	p.all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", behind)
			if err != nil {
				_ = c.Close()
				continue
			}
			p.mu.Lock()
			gone := p.gone
			p.conns = append(p.conns, c, up)
			p.mu.Unlock()
			p.all.Go(func() {
				_, _ = io.Copy(up, c)
				_ = up.Close()
			})
			p.all.Go(func() { p.back(c, up, gone) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.all.Wait()
	})
	return p
}

// cut has the connections that there are say nothing more, as when what is between has
// forgotten them.
func (p *deafProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.gone)
	p.gone = make(chan struct{})
}

// back carries what the server says: messages of a type, a length and that many octets.
func (p *deafProxy) back(c, up net.Conn, gone chan struct{}) {
	for head := make([]byte, 5); ; {
		if _, err := io.ReadFull(up, head); err != nil {
			_ = c.Close()
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(up, body); err != nil {
			_ = c.Close()
			return
		}
		select {
		case <-gone:
			continue
		default:
		}
		if head[0] == 'A' && p.deaf.Load() {
			continue
		}
		_, _ = c.Write(append(append([]byte(nil), head...), body...))
	}
}
