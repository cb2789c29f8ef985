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

package smtpapp

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// authority issues certificates for a test.
type authority struct {
	*testpki.Authority
	cert *x509.Certificate
}

func newAuthority(testing.TB) *authority {
	ca := testpki.NewAuthority("test CA")
	return &authority{ca, ca.Cert}
}

// issue makes a certificate with the names of the template; RSA, since old
// clients know nothing else.
func (a *authority) issue(t testing.TB, tmpl x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return a.Issue(testpki.Leaf{CommonName: tmpl.Subject.CommonName, Names: tmpl.DNSNames, Emails: tmpl.EmailAddresses, Key: key})
}

func (a *authority) pool() *x509.CertPool { return a.Pool() }

// write stores a certificate and its key as PEM files.
func write(t testing.TB, dir string, c tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key, err := testpki.Write(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// upgrade does STARTTLS.
func upgrade(c *client, cfg *tls.Config) error {
	c.t.Helper()
	c.play("M: 220\nC: EHLO c\nM: 250\nC: STARTTLS\nS: 220 2.0.0 Ready to start TLS")
	tc := tls.Client(c.nc, cfg)
	if err := tc.Handshake(); err != nil {
		return err
	}
	c.nc, c.r = tc, bufio.NewReader(tc)
	return nil
}

func TestCertificateFiles(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	first := ca.issue(t, x509.Certificate{DNSNames: []string{"mail.test"}})
	cert, key := write(t, dir, first)
	addr := freeAddr(t)
	mustLoad(t, caddyConfig(t, object{"hostname": "mail.test", "servers": object{"s": object{
		"listen": []string{addr}, "tls": object{"certificate": cert, "key": key},
	}}}))
	defer stopCaddy(t)
	served := func(name string) *x509.Certificate {
		t.Helper()
		c := dial(t, addr)
		if err := upgrade(c, &tls.Config{RootCAs: ca.pool(), ServerName: name}); err != nil {
			t.Fatal(err)
		}
		return c.nc.(*tls.Conn).ConnectionState().PeerCertificates[0]
	}
	if !served("mail.test").Equal(mustParse(t, first)) {
		t.Error("another certificate")
	}
	second := ca.issue(t, x509.Certificate{DNSNames: []string{"mail.test"}})
	write(t, dir, second)
	touch(t, cert, 2)
	if !served("mail.test").Equal(mustParse(t, second)) {
		t.Error("the change was not seen")
	}
	if err := os.WriteFile(cert, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, cert, 4)
	if !served("mail.test").Equal(mustParse(t, second)) {
		t.Error("a bad file was used")
	}
}

// touch makes a change visible, whatever the file system's resolution.
func touch(t testing.TB, name string, seconds int) {
	t.Helper()
	when := time.Now().Add(time.Duration(seconds) * time.Second)
	if err := os.Chtimes(name, when, when); err != nil {
		t.Fatal(err)
	}
}

func mustParse(t testing.TB, c tls.Certificate) *x509.Certificate {
	t.Helper()
	x, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestLegacyTLS lets TLS 1.0 in where it is wanted, and nowhere else.
func TestLegacyTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := write(t, t.TempDir(), ca.issue(t, x509.Certificate{DNSNames: []string{"mail.test"}}))
	legacy, modern, managed := freeAddr(t), freeAddr(t), freeAddr(t)
	cfg := caddyConfig(t, object{"hostname": "localhost", "servers": object{
		"legacy":  object{"listen": []string{legacy}, "tls": object{"certificate": cert, "key": key, "legacy": true}},
		"modern":  object{"listen": []string{modern}, "tls": object{"certificate": cert, "key": key}},
		"managed": object{"listen": []string{managed}, "tls": object{"mode": "implicit", "legacy": true}},
	}})
	cfg["apps"].(object)["tls"] = object{"automation": object{"policies": []any{object{
		"subjects": []string{"localhost"}, "key_type": "rsa2048", "issuers": []any{object{"module": "internal"}},
	}}}}
	mustLoad(t, cfg)
	defer stopCaddy(t)
	old := &tls.Config{
		RootCAs: ca.pool(), ServerName: "mail.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	}
	if err := upgrade(dial(t, legacy), old); err != nil {
		t.Errorf("TLS 1.0: %v", err)
	}
	if err := upgrade(dial(t, legacy), &tls.Config{RootCAs: ca.pool(), ServerName: "mail.test", MinVersion: tls.VersionTLS13}); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	if err := upgrade(dial(t, modern), old); err == nil {
		t.Error("TLS 1.0 without legacy")
	}
	// With Caddy's own certificate.
	awaitCertificate(t, managed)
	nc, err := tls.Dial("tcp", managed, &tls.Config{
		InsecureSkipVerify: true, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
	})
	if err != nil {
		t.Fatalf("TLS 1.0, managed: %v", err)
	}
	_ = nc.Close()
}

// TestLegacyTLSHasRSA serves devices that know RSA only with Caddy's certificates
// as they are by default, and everyone else with an ECDSA key.
func TestLegacyTLSHasRSA(t *testing.T) {
	addr := freeAddr(t)
	mustLoad(t, caddyConfig(t, object{"hostname": "localhost", "servers": object{
		"managed": object{"listen": []string{addr}, "tls": object{"mode": "implicit", "legacy": true}},
	}}))
	defer stopCaddy(t)
	awaitCertificate(t, addr)
	deadline := time.Now().Add(20 * time.Second)
	for r := runningApp(t).legacyRSA.Load(); !r.Obtained("localhost"); {
		if time.Now().After(deadline) {
			t.Fatal("no RSA certificate")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for name, tc := range map[string]struct {
		version    uint16
		suite      uint16
		serverName string
		want       x509.PublicKeyAlgorithm
	}{
		"TLS 1.0, RSA key exchange": {tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, "localhost", x509.RSA},
		"TLS 1.1, RSA key exchange": {tls.VersionTLS11, tls.TLS_RSA_WITH_AES_256_CBC_SHA, "localhost", x509.RSA},
		"TLS 1.0, 3DES alone":       {tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "", x509.RSA},
		"TLS 1.2, RSA signatures":   {tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "localhost", x509.RSA},
		"no server name":            {tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, "", x509.RSA},
		"another server name":       {tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, "relay.test", x509.RSA},
		"a name of no certificate":  {tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA, "mail_gateway", x509.RSA},
		"TLS 1.0, ECDSA":            {tls.VersionTLS10, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "localhost", x509.ECDSA},
		"TLS 1.3":                   {tls.VersionTLS13, 0, "localhost", x509.ECDSA},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &tls.Config{InsecureSkipVerify: true, ServerName: tc.serverName, MinVersion: tc.version, MaxVersion: tc.version}
			if tc.suite != 0 {
				cfg.CipherSuites = []uint16{tc.suite}
			}
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
			c := tls.Client(nc, cfg)
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			if got := c.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; got != tc.want {
				t.Errorf("key %v, want %v", got, tc.want)
			}
		})
	}
}

// TestClientCertificateLogin sends as whom a verified certificate names, and
// as nobody for any other.
func TestClientCertificateLogin(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	ca, stranger := newAuthority(t), newAuthority(t)
	addr := freeAddr(t)
	config := func(login bool, ca *authority) object {
		return caddyConfig(t, object{
			"accounts": []any{object{"source": "inline", "accounts": []any{
				testRecord(testUser), testRecord("dns.example.com"), testRecord("common-name"),
			}}},
			"servers": object{"s": object{"listen": []string{addr}, "tls": object{
				"mode": "implicit", "client_certificate_login": login,
				"connection_policies": []any{object{"client_authentication": object{
					"mode": "verify_if_given",
					"ca":   object{"provider": "inline", "trusted_ca_certs": []string{base64.StdEncoding.EncodeToString(ca.cert.Raw)}},
				}}},
			}}},
		})
	}
	mustLoad(t, config(true, ca))
	defer stopCaddy(t)
	awaitCertificate(t, addr)
	for name, tc := range map[string]struct {
		cert *x509.Certificate
		want string
		as   string
	}{
		"e-mail": {&x509.Certificate{EmailAddresses: []string{"ALERTS@example.com"}, DNSNames: []string{"dns.example.com"}}, "250", testUser},
		"DNS":    {&x509.Certificate{DNSNames: []string{"other.example.com", "dns.example.com"}, Subject: pkix.Name{CommonName: "common-name"}}, "250", "dns.example.com"},
		"CN":     {&x509.Certificate{Subject: pkix.Name{CommonName: "common-name"}}, "250", "common-name"},
		"nobody": {&x509.Certificate{Subject: pkix.Name{CommonName: "nobody"}}, "530 5.7.0", ""},
		"none":   {nil, "530 5.7.0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
			if tc.cert != nil {
				cfg.Certificates = []tls.Certificate{ca.issue(t, *tc.cert)}
			}
			nc, err := tls.Dial("tcp", addr, cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c := &client{t: t, nc: nc, r: bufio.NewReader(nc)}
			c.play("M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>")
			c.expect(tc.want)
			if tc.as == "" {
				return
			}
			c.play("C: RCPT TO:<b@example.org>\nM: 250\nC: BDAT 0 LAST\nM: 250")
			got := caddyUpstream.taken()
			if last := got[len(got)-1]; last.account != tc.as {
				t.Errorf("sent as %s, want %s", last.account, tc.as)
			}
		})
	}
	for name, next := range map[string]struct {
		config object
		want   string
	}{
		"the same": {config(true, ca), "250"}, "switched off": {config(false, ca), "421 4.7.0"}, "another CA": {config(true, stranger), "421 4.7.0"},
	} {
		t.Run("reload/"+name, func(t *testing.T) {
			mustLoad(t, config(true, ca))
			nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost",
				Certificates: []tls.Certificate{ca.issue(t, x509.Certificate{EmailAddresses: []string{testUser}})}})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c := &client{t: t, nc: nc, r: bufio.NewReader(nc)}
			c.play("M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>\nM: 250\nC: RSET\nM: 250")
			mustLoad(t, next.config)
			c.send("MAIL FROM:<a@example.com>\r\n")
			c.expect(next.want)
		})
	}
	mustLoad(t, config(true, ca))
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost",
		Certificates: []tls.Certificate{stranger.issue(t, x509.Certificate{EmailAddresses: []string{testUser}})}})
	if err == nil {
		// With TLS 1.3 the refusal comes with the first read.
		defer nc.Close()
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("a stranger's certificate was let in")
		}
	}
}

// TestStartTLSInjection sends commands along with STARTTLS, as a man in the
// middle would, and a handshake that fails.
func TestStartTLSInjection(t *testing.T) {
	ca := newAuthority(t)
	pair := ca.issue(t, x509.Certificate{DNSNames: []string{"mail.test"}})
	s := startServer(t, func(p *policy) { p.StartTLS = &tls.Config{Certificates: []tls.Certificate{pair}} })
	c := dial(t, s.addr)
	c.play(`
		M: 220
		C: EHLO c
		M: 250
		C: STARTTLS
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		C: MAIL FROM:<evil@example.com>
		M: 220
		TLS
		C: NOOP
		M: 250
		C: MAIL FROM:<a@example.com>
		M: 50
		C: QUIT
		M: 221`)
	// What was said in the clear is forgotten, a login too.
	c = dial(t, s.addr)
	c.play(`
		LOGIN
		C: STARTTLS
		M: 220
		TLS
		C: MAIL FROM:<a@example.com>
		S: 503 5.5.1 Bad sequence of commands
		C: EHLO c
		M: 250 AUTH PLAIN LOGIN
		C: STARTTLS
		S: 503 5.5.1 TLS already active
		C: MAIL FROM:<a@example.com>
		S: 530 5.7.0 Authentication required
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		M: 235`)
	// After a failed handshake there is no way back to the clear.
	c = dial(t, s.addr)
	c.play(`
		M: 220
		C: EHLO c
		M: 250
		C: STARTTLS now
		S: 501 5.5.4 Syntax error in parameters or arguments
		C: STARTTLS
		M: 220
		C: MAIL FROM:<a@example.com>`)
	for {
		line, err := c.line()
		if err != nil {
			break
		}
		if len(line) > 3 && line[0] >= '2' && line[0] <= '5' && line[3] == ' ' {
			t.Errorf("reply %q in the clear", line)
		}
	}
}

// TestProxyProtocol believes the header from named networks only.
func TestProxyProtocol(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	trusting, wary := freeAddr(t), freeAddr(t)
	server := func(addr, allow string) object {
		return object{
			"listen": []string{addr}, "tls": object{"mode": "off"},
			"trust":             []any{object{"networks": []string{"192.0.2.0/24"}, "account": testUser}},
			"listener_wrappers": []any{object{"wrapper": "proxy_protocol", "allow": []string{allow}, "fallback_policy": "IGNORE"}},
			"max_conns_per_ip":  2,
		}
	}
	cfg := caddyConfig(t, object{"servers": object{
		"trusting": server(trusting, "127.0.0.0/8"), "wary": server(wary, "198.51.100.0/24"),
	}})
	mustLoad(t, cfg)
	defer stopCaddy(t)
	header := func(addr, ip string) *client {
		c := dial(t, addr)
		c.send("PROXY TCP4 " + ip + " 192.0.2.250 40000 587\r\n")
		return c
	}
	script := "M: 220\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>"
	c := header(trusting, "192.0.2.1")
	c.play(script + "\nM: 250")
	for range 3 {
		mustLoad(t, cfg)
		c.play("C: RSET\nM: 250\nC: MAIL FROM:<a@example.com>\nM: 250")
		header(trusting, "198.51.100.1").play(script + "\nM: 530\nC: QUIT\nM: 221\nEOF")
	}
	header(wary, "192.0.2.1").play(script + "\nM: 530")
	// The limit counts the client behind the proxy.
	header(trusting, "192.0.2.1").expect("220")
	header(trusting, "192.0.2.1").expect("421 4.3.2")
	header(trusting, "192.0.2.2").expect("220")
	infos := runningApp(t).Sessions()
	if len(infos) == 0 || infos[0].ClientIP != "192.0.2.1" || infos[0].State != "mail" || infos[0].Account != testUser {
		t.Errorf("sessions %+v", infos)
	}
}

// TestProxyProtocolWaitsForNoOther greets clients from networks that are not
// named at once, as the option proxy_protocol has it, and takes no header of theirs.
func TestProxyProtocolWaitsForNoOther(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	mustLoad(t, caddyConfig(t, object{"servers": object{"s": object{
		"listen": []string{addr}, "tls": object{"mode": "off"},
		"listener_wrappers": []any{object{
			"wrapper": "proxy_protocol", "allow": []string{"198.51.100.0/24"}, "fallback_policy": "SKIP", "timeout": "1h",
		}},
	}}}))
	defer stopCaddy(t)
	dial(t, addr).play("M: 220\nC: EHLO c\nM: 250")
	c := dial(t, addr)
	c.play("M: 220\nC: PROXY TCP4 192.0.2.1 192.0.2.250 40000 587\nM: 421 4.7.0 PROXY\nEOF")
	for _, info := range runningApp(t).Sessions() {
		if info.ClientIP != "127.0.0.1" {
			t.Errorf("client %s", info.ClientIP)
		}
	}
}

// TestServeConn serves connections that others accept.
func TestServeConn(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	mustLoad(t, caddyConfig(t, object{"servers": object{
		"l4": object{"max_conns_per_ip": 1},
	}}))
	defer stopCaddy(t)
	serve := func(name string, state *tls.ConnectionState) (*client, chan error) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c := dial(t, ln.Addr().String())
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		app := runningApp(t)
		go func() { done <- app.ServeConn(name, nc, state) }()
		return c, done
	}
	c, done := serve("l4", &tls.ConnectionState{HandshakeComplete: true})
	c.play(`
		M: 220
		C: EHLO c
		S: 250-localhost
		S: 250-PIPELINING
		S: 250-SIZE 26214400
		S: 250-8BITMIME
		S: 250-SMTPUTF8
		S: 250-ENHANCEDSTATUSCODES
		S: 250-CHUNKING
		S: 250-DSN
		S: 250 AUTH PLAIN LOGIN
		C: STARTTLS
		M: 503
		C: QUIT
		M: 221
		EOF`)
	if err := <-done; err != nil {
		t.Error(err)
	}
	c, done = serve("l4", nil)
	c.play("M: 220\nC: EHLO c\nM: 250")
	over, overDone := serve("l4", nil)
	over.expect("421 4.3.2")
	<-overDone
	c.send("QUIT\r\n")
	c.expect("221")
	<-done
	c, done = serve("nobody", nil)
	c.expectEOF()
	if err := <-done; err == nil || !strings.Contains(err.Error(), `server "nobody" is not running`) {
		t.Errorf("got %v", err)
	}
}
