// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package smtpclient

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// countingConn counts writes, and fails them from the n-th on.
type countingConn struct {
	net.Conn
	writes, fail int
}

var errNoMore = errors.New("no more writes")

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes++
	if c.fail > 0 && c.writes >= c.fail {
		return 0, errNoMore
	}
	return c.Conn.Write(b)
}

// The records of a large write leave together, in order and whole; a write that
// fails beneath TLS fails for the caller, too.
func TestRecordsAreGathered(t *testing.T) {
	pki := testpki.NewAuthority("test")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	body := make([]byte, SmallBody)
	_, _ = rand.Read(body)
	got := make(chan []byte, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			got <- nil
			return
		}
		defer nc.Close()
		b, _ := io.ReadAll(tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{pki.Issue(testpki.Leaf{Names: []string{"localhost"}})}}))
		got <- b
	}()
	tcp, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	count := &countingConn{Conn: tcp}
	c := New(tcp, &Config{})
	c.deaf = &deafConn{Conn: count, early: new(heardAhead)}
	tc := tls.Client(c.deaf, &tls.Config{ServerName: "localhost", RootCAs: pki.Pool()})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.nc = tc
	count.writes = 0
	if err := c.write(body); err != nil {
		t.Fatal(err)
	}
	// TLS begins with small records; each was a write.
	if count.writes > 3 {
		t.Fatalf("%d writes for %d octets", count.writes, len(body))
	}
	if err := c.write([]byte("QUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	count.writes, count.fail = 0, 2
	if err := c.write(body); !errors.Is(err, errNoMore) {
		t.Fatalf("a write that failed: %v", err)
	}
	_ = tcp.Close()
	b := <-got
	if want := append(bytes.Clone(body), "QUIT\r\n"...); !bytes.HasPrefix(b, want) {
		t.Fatalf("%d octets arrived, not those that were written", len(b))
	}
}
