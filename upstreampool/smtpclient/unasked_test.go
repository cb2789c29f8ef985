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

package smtpclient

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// ticketed is a connection that waits behind its handshake, with the server's
// session tickets unread, and the other side of it.
func ticketed(t *testing.T) (c *Conn, half *halfConn, peer *tls.Conn) {
	t.Helper()
	server := &tls.Config{Certificates: []tls.Certificate{testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}})}}
	// Go's server sends its tickets behind the client's Finished, as OpenSSL's
	// does always, if that could hold a certificate.
	server.ClientAuth = tls.RequestClientCert
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	tcp, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	half = &halfConn{Conn: nc}
	peer = tls.Server(half, server)
	ticketed := make(chan error, 1)
	go func() { ticketed <- peer.Handshake() }() // writes the tickets at its end
	c = New(tcp, &Config{
		Learned:     new(Learned),
		DialTimeout: time.Minute,
		TLS:         &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}, //nolint:gosec // whose certificate it is matters not
	})
	t.Cleanup(c.Abandon)
	if err := c.handshake(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := <-ticketed; err != nil {
		t.Fatal(err)
	}
	if !c.ready.known() || c.ready.quiet() {
		t.Fatal("no ticket has come")
	}
	return c, half, peer
}

// TestTicketsAreNoReply has the server's session tickets come before EHLO: TLS
// speaks for itself there, and no reply was sent.
func TestTicketsAreNoReply(t *testing.T) {
	c, half, peer := ticketed(t)
	if !c.Silent() {
		t.Error("a ticket was taken for a reply")
	}
	c.Endure(false)
	c.under = false
	// A reply behind it is one, also if half of its record has come.
	half.on = true
	if _, err := io.WriteString(peer, "250 2.0.0 stray\r\n"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // from the socket, and from what TLS has taken of it
		if c.Silent() {
			t.Error("half of a reply was not seen")
		}
	}
	if c.doubtful() || !c.amid() {
		t.Error("half of a record was said to be a reply, or to be nothing")
	}
	if _, err := half.Conn.Write(half.kept); err != nil {
		t.Fatal(err)
	}
	if c.Silent() {
		t.Error("a reply of two halves was not seen")
	}
	if _, err := io.WriteString(peer, "250 2.0.0 stray\r\n"); err != nil {
		t.Fatal(err)
	}
	if c.Silent() {
		t.Error("a reply was not seen")
	}
}

// TestNoTimeToListen looks for a reply when the time for that is over at once, as
// on a machine that has none to give.
func TestNoTimeToListen(t *testing.T) {
	c, _, peer := ticketed(t)
	if !c.Silent() { // which reads the tickets
		t.Fatal("a ticket was taken for a reply")
	}
	defer func(before time.Duration) { probe = before }(probe)
	probe = -time.Second
	if !c.Silent() {
		t.Error("nothing has come")
	}
	if _, err := io.WriteString(peer, "250 2.0.0 stray\r\n"); err != nil {
		t.Fatal(err)
	}
	for c.ready.quiet() {
		time.Sleep(time.Millisecond) // the kernel says no more than this
	}
	if c.Silent() {
		t.Error("a reply was not seen")
	}
}

// TestSay sends a flight by the read that finds the socket silent, and none where
// something has come, whatever it is.
func TestSay(t *testing.T) {
	t.Run("silent", func(t *testing.T) {
		c, _, peer := ticketed(t) // the tickets wait: TLS's own affair
		for range 3 {
			go func() {
				var line [6]byte
				if _, err := io.ReadFull(peer, line[:]); err == nil {
					_, _ = io.WriteString(peer, "250 2.1.0 one\r\n250 2.1.5 "+string(line[:4])+"\r\n")
				}
			}()
			if err := c.arm(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			if silent, left, err := c.say([]byte("NOOP\r\n")); !silent || left != 0 || err != nil {
				t.Fatalf("silent %v, %d octets left, %v", silent, left, err)
			}
			for _, want := range []string{"2.1.0 one", "2.1.5 NOOP"} {
				if code, err := c.replies.Read(); err != nil || code != 250 || c.Said().Lines[0] != want {
					t.Fatalf("%d, %v, %q, want %q", code, err, c.Said().Lines, want)
				}
			}
			if c.doubtful() || !c.Silent() || c.early.room != nil {
				t.Error("something is left behind the replies")
			}
			if !c.deaf.emptied() {
				t.Error("TLS would be asked although nothing came since")
			}
		}
	})
	for name, come := range map[string]func(t *testing.T, half *halfConn, peer *tls.Conn){
		"reply": func(t *testing.T, _ *halfConn, peer *tls.Conn) {
			_, _ = io.WriteString(peer, "250 2.0.0 stray\r\n")
		},
		"half a record": func(t *testing.T, half *halfConn, peer *tls.Conn) {
			half.on = true
			_, _ = io.WriteString(peer, "250 2.0.0 stray\r\n")
		},
		"end": func(t *testing.T, half *halfConn, _ *tls.Conn) { _ = half.Conn.Close() },
		"reset": func(t *testing.T, half *halfConn, _ *tls.Conn) {
			_ = half.Conn.(*net.TCPConn).SetLinger(0)
			_ = half.Conn.Close()
		},
		"end of TLS": func(t *testing.T, _ *halfConn, peer *tls.Conn) { _ = peer.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			c, half, peer := ticketed(t)
			if !c.Silent() { // which reads the tickets
				t.Fatal("a ticket was taken for a reply")
			}
			c.Endure(false)
			c.under = false
			come(t, half, peer)
			for deadline := time.Now().Add(10 * time.Second); c.ready.quiet(); {
				if time.Now().After(deadline) {
					t.Fatal("it has not come")
				}
				time.Sleep(time.Millisecond)
			}
			for range 2 { // from the socket, and from what was read of it
				if silent, _, _ := c.say([]byte("NOOP\r\n")); silent {
					t.Fatal("the flight left")
				}
			}
			_ = half.Conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if n, err := peer.Read(make([]byte, 8)); n > 0 {
				t.Errorf("%d octets of the flight left, %v", n, err)
			}
		})
	}
}

// TestSayWithoutTLS is the same on a socket in the clear, down to the error that the
// read of the reply finds.
func TestSayWithoutTLS(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const flight = "NOOP\r\n"
	for name, tc := range map[string]struct {
		answer string
		reset  bool
		want   error
	}{
		"answered":  {answer: "250 2.0.0 ok\r\n"},
		"with more": {answer: "250 2.0.0 ok\r\n250 2.0.0 stray\r\n"},
		"long":      {answer: "250 " + strings.Repeat("x", 3*heardSize) + "\r\n"},
		"closed":    {want: io.EOF},
		"reset":     {reset: true, want: syscall.ECONNRESET},
		"no answer": {want: os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			tcp, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c := New(tcp, &Config{Learned: new(Learned)})
			defer c.Abandon()
			d := 10 * time.Second
			if errors.Is(tc.want, os.ErrDeadlineExceeded) {
				d = 50 * time.Millisecond
			}
			if err := c.arm(d); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := io.ReadFull(nc, make([]byte, len(flight)))
				switch {
				case tc.answer != "":
					_, err = io.WriteString(nc, tc.answer)
				case tc.reset:
					_ = nc.(*net.TCPConn).SetLinger(0)
					err = nc.Close()
				case errors.Is(tc.want, io.EOF):
					err = nc.Close()
				}
				done <- err
			}()
			if silent, left, err := c.say([]byte(flight)); !silent || left != 0 || err != nil {
				t.Fatalf("silent %v, %d octets left, %v", silent, left, err)
			}
			code, err := c.replies.Read()
			if !errors.Is(err, tc.want) || err == nil && code != 250 {
				t.Fatalf("%d, %v, want %v", code, err, tc.want)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if stray := strings.Contains(tc.answer, "stray"); err == nil && c.doubtful() != stray {
				t.Errorf("doubtful: %v", !stray)
			}
			if c.early.room != nil {
				t.Error("memory is held that holds nothing")
			}
		})
	}
}

// TestEmptied cuts what the server says into records and reads anyhow: TLS is never
// taken to hold nothing while it holds a record.
func TestEmptied(t *testing.T) {
	c, _, peer := ticketed(t)
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's
	asked, known := 0, 0
	for range 500 {
		total := 0
		for range 1 + rng.IntN(4) {
			n := 1 + rng.IntN(40)
			total += n
			if _, err := peer.Write(make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.arm(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		for total > 0 {
			n, err := (*patient)(c).Read(make([]byte, 1+rng.IntN(120)))
			if total -= n; err != nil {
				t.Fatal(err)
			}
			if asked++; !c.deaf.emptied() {
				continue
			}
			known++
			given := c.deaf.given
			c.deaf.given-- // so that TLS is asked
			if c.held() {
				t.Fatalf("TLS holds a record, with %d octets to come", total)
			}
			if c.deaf.given != given {
				t.Fatalf("%d records by its own count, %d by TLS's", given, c.deaf.given)
			}
		}
		if c.held() || !c.deaf.emptied() { // as before the next flight
			t.Fatal("TLS holds what was read")
		}
	}
	if known < asked/10 {
		t.Errorf("known after %d of %d reads", known, asked)
	}
}

// halfConn keeps the second half of what is written while it is on.
type halfConn struct {
	net.Conn
	on   bool
	kept []byte
}

func (c *halfConn) Write(b []byte) (int, error) {
	if !c.on {
		return c.Conn.Write(b)
	}
	c.on = false
	c.kept = bytes.Clone(b[len(b)/2:])
	_, err := c.Conn.Write(b[:len(b)/2])
	return len(b), err
}

// TestRecords cuts records anywhere.
func TestRecords(t *testing.T) {
	var wire []byte
	ends := make(map[int]bool)
	for _, n := range []int{1, 0, 300, 5, 1 << 14} {
		ends[len(wire)] = true
		wire = append(wire, 23, 3, 3, byte(n>>8), byte(n))
		wire = append(wire, make([]byte, n)...)
	}
	ends[len(wire)] = true
	for _, step := range []int{1, 2, 3, 5, 7, 4096, 1 << 20} {
		var r records
		for at := 0; at < len(wire); {
			n := min(step, len(wire)-at)
			r.follow(wire[at : at+n])
			at += n
			if r.amid() == ends[at] {
				t.Fatalf("by %d, after %d octets: amid %v", step, at, r.amid())
			}
		}
	}
}

// BenchmarkSilent is what a flight pays for its look at the socket.
func BenchmarkSilent(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	server := &tls.Config{Certificates: []tls.Certificate{testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}})}}
	for name, encrypted := range map[string]bool{"plain": false, "tls": true} {
		b.Run(name, func(b *testing.B) {
			tcp, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			peer, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer peer.Close()
			c := New(tcp, &Config{DialTimeout: time.Minute, TLS: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // a benchmark
			defer c.Abandon()
			if encrypted {
				done := make(chan error, 1)
				go func() { done <- tls.Server(peer, server).Handshake() }()
				if err := c.handshake(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if !c.Silent() {
					b.Fatal("not silent")
				}
			}
		})
	}
}
