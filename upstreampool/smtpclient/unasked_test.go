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
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// TestTicketsAreNoReply has the server's session tickets come before EHLO: TLS
// speaks for itself there, and no reply was sent.
func TestTicketsAreNoReply(t *testing.T) {
	server := &tls.Config{Certificates: []tls.Certificate{testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}})}}
	// Go's server sends its tickets behind the client's Finished, as OpenSSL's
	// does always, if that could hold a certificate.
	server.ClientAuth = tls.RequestClientCert
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tcp, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	peer := tls.Server(nc, server)
	ticketed := make(chan error, 1)
	go func() { ticketed <- peer.Handshake() }() // writes the tickets at its end
	c := New(tcp, &Config{
		DialTimeout: time.Minute,
		TLS:         &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}, //nolint:gosec // whose certificate it is matters not
	})
	defer c.Abandon()
	if err := c.handshake(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := <-ticketed; err != nil {
		t.Fatal(err)
	}
	if !c.ready.known() || c.ready.quiet() {
		t.Fatal("no ticket has come")
	}
	if !c.Silent() {
		t.Error("a ticket was taken for a reply")
	}
	// A reply behind it is one.
	if _, err := io.WriteString(peer, "250 2.0.0 stray\r\n"); err != nil {
		t.Fatal(err)
	}
	if c.Silent() {
		t.Error("a reply was not seen")
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
