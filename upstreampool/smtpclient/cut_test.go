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
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/relay"
)

// cutConn fails when it has written so much; room below 0 is no bound.
type cutConn struct {
	net.Conn
	room, written int
}

func (c *cutConn) Write(b []byte) (int, error) {
	n := len(b)
	if c.room >= 0 {
		n = min(n, c.room)
		c.room -= n
	}
	n, err := c.Conn.Write(b[:n])
	c.written += n
	if err == nil && n < len(b) {
		err = errNoMore
	}
	return n, err
}

// cut returns a connection whose socket fails, and the other side, which takes
// what comes.
func cut(t *testing.T) (*Conn, *cutConn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tcp, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	socket := &cutConn{Conn: tcp, room: -1}
	c := New(socket, &Config{BDAT: true, Learned: new(Learned), DataTimeout: 5 * time.Second, CommandTimeout: 5 * time.Second})
	c.caps.Pipelining, c.caps.Chunking = true, true
	return c, socket, peer
}

// TestEndCutOff: where a write fails within the RSET behind a message, the provider
// may have the message; where it fails before, it can't.
func TestEndCutOff(t *testing.T) {
	const flight = "MAIL FROM:<a@a.test>\r\nRCPT TO:<one@b.test>\r\n"
	const chunk = "BDAT 3 LAST\r\nx\r\n"
	for missing := range 12 {
		if missing == 0 {
			continue
		}
		want := relay.ReplyDeliveryUnknown
		if missing > len(reset) {
			want = relay.ReplyUpstreamLost
		}
		c, socket, peer := cut(t)
		socket.room = len(flight+chunk+reset) - missing
		go take(peer, socket.room)
		if out := sendSingle(t, c, "a@a.test"); out.Untouched != (missing > len(reset)) || out.Err != want {
			t.Errorf("one flight, %d octets missing: %+v", missing, out)
		}
		c, socket, peer = cut(t)
		socket.room = len(chunk+reset) - missing
		go take(peer, socket.room)
		buf, _, err := ReadBody(strings.NewReader("x\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if out := c.Transfer(t.Context(), &Envelope{}, buf, true, nil); out.Untouched != (missing > len(reset)) || out.Err != want {
			t.Errorf("BDAT, %d octets missing: %+v", missing, out)
		}
		buf.Free()
	}
}

// take reads n octets and closes.
func take(nc net.Conn, n int) {
	_, _ = io.CopyN(io.Discard, nc, int64(n))
	_ = nc.Close()
}

// TestLeftOfRecords: of what TLS sends less is certain, and never more than is true.
func TestLeftOfRecords(t *testing.T) {
	pki := testpki.NewAuthority("test")
	server := &tls.Config{Certificates: []tls.Certificate{pki.Issue(testpki.Leaf{Names: []string{"localhost"}})}}
	for _, size := range []int{100, maxRecord, maxRecord + 3, 3 * maxRecord, 3*maxRecord + 4, gatherSize, SmallBody, SmallBody + 5} {
		body := make([]byte, size)
		for _, missing := range []int{1, 3, 20, 30, 200, 300, 5000} {
			c, socket, peer := cut(t)
			c.deaf = &deafConn{Conn: socket, early: new(heardAhead)}
			tc := tls.Client(c.deaf, &tls.Config{ServerName: "localhost", RootCAs: pki.Pool(), DynamicRecordSizingDisabled: true})
			go func() { _, _ = io.Copy(io.Discard, tls.Server(peer, server)) }()
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
			c.nc = tc
			before := socket.written
			if left, err := c.send(body); err != nil || left != 0 {
				t.Fatal(left, err)
			}
			raw := socket.written - before
			if missing >= raw {
				continue
			}
			socket.room = raw - missing
			left, err := c.send(body)
			// A record that is cut off is lost whole.
			if most := min(missing+maxRecord, size); !errors.Is(err, errNoMore) || left < 0 || left > most {
				t.Errorf("%d octets, %d missing: left %d, %v", size, missing, left, err)
			}
			if missing > recordRoom+len(reset) && left <= len(reset) {
				t.Errorf("%d octets, %d missing: %d left of it for certain", size, missing, left)
			}
		}
	}
}
