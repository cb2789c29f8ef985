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

package upstreampool

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestDoors holds what the presets beside the mailbox providers' give, and that
// one whose host is the customer's own says how it looks.
func TestDoors(t *testing.T) {
	for _, tc := range []struct {
		preset, dial              string
		address, mechanism, fails string
	}{
		{"hve", "", "smtp.hve.mx.microsoft:587", smtpclient.XOAUTH2, ""},
		{"azure_communication", "", "smtp.azurecomm.net:587", smtpclient.AuthPlain, ""},
		{"connector", "", "", "", "DOMAIN.mail.protection.outlook.com:25"},
		{"connector", "example-com.mail.protection.outlook.com:25", "example-com.mail.protection.outlook.com:25", smtpclient.AuthNone, ""},
		{"ses", "", "", "", "email-smtp.REGION.amazonaws.com:587"},
		{"ses", "email-smtp.eu-central-1.amazonaws.com:587", "email-smtp.eu-central-1.amazonaws.com:587", smtpclient.AuthPlain, ""},
	} {
		s, err := (&SMTPTransport{Preset: tc.preset, Dial: tc.dial}).resolve("x")
		if tc.fails != "" {
			if err == nil || !strings.Contains(err.Error(), "dial") || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s without dial: %v", tc.preset, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.preset, err)
			continue
		}
		if s.Address() != tc.address || s.Mechanism != tc.mechanism || s.TLSMode != smtpclient.StartTLS || s.rate != (accounts.Rate{}) {
			t.Errorf("%s: %s, %s, %s", tc.preset, s.Address(), s.Mechanism, s.TLSMode)
		}
	}
}

// TestClientCertificate holds that the provider sees the gateway's certificate,
// and that another one makes other connections.
func TestClientCertificate(t *testing.T) {
	server := testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}})
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	identities := make(map[string]bool)
	for _, name := range []string{"gateway.example.com", "other.example.com"} {
		certFile, keyFile, err := testpki.Write(t.TempDir(), testpki.SelfSigned(testpki.Leaf{Names: []string{name}}))
		if err != nil {
			t.Fatal(err)
		}
		tr := &SMTPTransport{
			Preset: "connector", Dial: ln.Addr().String(), roots: testpki.Trust(server),
			TLS: &UpstreamTLS{ClientCertificate: certFile, ClientKey: keyFile},
		}
		if err := tr.loadCertificate(); err != nil {
			t.Fatal(err)
		}
		s, err := tr.resolve("x")
		if err != nil {
			t.Fatal(err)
		}
		identities[s.identity] = true
		seen := make(chan string, 1)
		go func() {
			defer close(seen)
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			if tc := c.(*tls.Conn); tc.HandshakeContext(t.Context()) == nil {
				seen <- tc.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
		}()
		c, err := tls.Dial("tcp", s.Address(), s.TLS)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != name {
			t.Errorf("the provider saw '%s', want '%s'", got, name)
		}
		_ = c.Close()
	}
	if len(identities) != 2 {
		t.Error("connections with different certificates are the same to the pool")
	}
	tr := &SMTPTransport{TLS: &UpstreamTLS{ClientCertificate: "missing.pem"}}
	if err := tr.loadCertificate(); err == nil || !strings.Contains(err.Error(), "tls.client_certificate") {
		t.Errorf("%v", err)
	}
	tr = &SMTPTransport{Preset: "connector", Dial: "127.0.0.1:25", TLS: &UpstreamTLS{Mode: smtpclient.NoTLS}, certificates: []tls.Certificate{server}}
	if _, err := tr.resolve("x"); err == nil || !strings.Contains(err.Error(), "tls.client_certificate") {
		t.Errorf("without TLS: %v", err)
	}
}
