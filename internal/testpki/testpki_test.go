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

package testpki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

// handshake lets a client that trusts roots meet a server with the certificate.
func handshake(t *testing.T, c tls.Certificate, roots *x509.CertPool, name string) error {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_ = tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{c}}).Handshake() //nolint:gosec // any version
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = tls.Client(nc, &tls.Config{RootCAs: roots, ServerName: name}).Handshake() //nolint:gosec // any version
	_ = nc.Close()
	<-done
	return err
}

func TestHandshake(t *testing.T) {
	ca, other := NewAuthority("one"), NewAuthority("two")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	leaf := Leaf{Names: []string{"mail.test", "127.0.0.1"}}
	self := SelfSigned(Leaf{Names: leaf.Names, Trusted: true})
	for _, c := range []struct {
		name  string
		cert  tls.Certificate
		roots *x509.CertPool
		host  string
		want  bool
	}{
		{"issued", ca.Issue(leaf), ca.Pool(), "mail.test", true},
		{"an address", ca.Issue(leaf), ca.Pool(), "127.0.0.1", true},
		{"RSA", ca.Issue(Leaf{Names: leaf.Names, Key: key}), ca.Pool(), "mail.test", true},
		{"another authority", ca.Issue(leaf), other.Pool(), "mail.test", false},
		{"another name", ca.Issue(leaf), ca.Pool(), "other.test", false},
		{"over", ca.Issue(Leaf{Names: leaf.Names, NotAfter: time.Now().Add(-48 * time.Hour)}), ca.Pool(), "mail.test", false},
		{"signs itself, trusted", self, Trust(self), "mail.test", true},
		{"signs itself, not trusted", SelfSigned(leaf), ca.Pool(), "mail.test", false},
	} {
		if err := handshake(t, c.cert, c.roots, c.host); (err == nil) != c.want {
			t.Errorf("%s: %v, want success: %v", c.name, err, c.want)
		}
	}
}

// TestIntermediate holds that a client with the root alone trusts what an
// authority in between has issued.
func TestIntermediate(t *testing.T) {
	root := NewAuthority("root")
	c := root.Intermediate(Leaf{CommonName: "between"}).Intermediate(Leaf{CommonName: "below"}).Issue(Leaf{Names: []string{"server.test"}})
	if len(c.Certificate) != 3 {
		t.Fatalf("a chain of %d, want 3", len(c.Certificate))
	}
	if err := handshake(t, c, root.Pool(), "server.test"); err != nil {
		t.Error(err)
	}
	if err := handshake(t, c, NewAuthority("root").Pool(), "server.test"); err == nil {
		t.Error("another root will do")
	}
}

func TestWrite(t *testing.T) {
	want := NewAuthority("one").Issue(Leaf{Names: []string{"mail.test"}})
	cert, key, err := Write(t.TempDir(), want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Certificate[0]) != string(want.Certificate[0]) {
		t.Error("another certificate came back")
	}
}
