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

package smtpserver

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// TestHandshakeCauses fails handshakes in the ways of old and of distrustful
// clients.
func TestHandshakeCauses(t *testing.T) {
	pair := testCertificate()
	shake := func(cfg *tls.Config) func(net.Conn) {
		return func(nc net.Conn) { _ = tls.Client(nc, cfg).Handshake() }
	}
	say := func(text string) func(net.Conn) {
		return func(nc net.Conn) { _, _ = io.WriteString(nc, text) }
	}
	for name, tc := range map[string]struct {
		client func(net.Conn)
		want   []Cause
	}{
		"does not trust the certificate": {shake(&tls.Config{ServerName: "mail.test"}), []Cause{CauseCertificateRefused}},
		"the same with TLS 1.2":          {shake(&tls.Config{ServerName: "mail.test", MaxVersion: tls.VersionTLS12}), []Cause{CauseCertificateRefused}},
		"TLS 1.0":                        {shake(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}), []Cause{CauseTLSVersion}},
		"no common suite": {shake(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}), []Cause{CauseTLSCipher}},
		"plain text":     {say("EHLO x\r\n"), []Cause{CausePlaintextOnTLSPort}},
		"HTTP":           {say("GET / HTTP/1.1\r\n\r\n"), []Cause{CauseHTTP}},
		"PROXY":          {say("PROXY TCP4 192.0.2.1 192.0.2.2 40000 465\r\n"), []Cause{CauseProxyHeader}},
		"PROXY 2":        {say("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), []Cause{CauseProxyHeader}},
		"a health check": {func(net.Conn) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			// Not a pipe: both sides may be writing when the client fails.
			client, server := tcpPair(t)
			s := &recorder{cfg: tolerantConfig()}
			s.cfg.ImplicitTLS = &tls.Config{Certificates: []tls.Certificate{pair}}
			s.cfg.Prepare()
			done := make(chan struct{})
			go func() {
				defer close(done)
				tc.client(client)
				_ = client.Close()
			}()
			// The client closes after its side has failed: what is left of
			// ours is read by nothing.
			end := New(server, s, s.cfg, nil).Serve()
			<-done
			if got := s.causes(); end != EndTLS || len(got) != len(tc.want) || len(got) > 0 && got[0] != tc.want[0] {
				t.Errorf("%s, %+v, want %v", end, s.refusals, tc.want)
			}
		})
	}
}

// tcpPair returns the two ends of a connection.
func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}
