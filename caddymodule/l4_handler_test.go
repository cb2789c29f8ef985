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

package caddymodule

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// writeCertificate makes a certificate for localhost and returns the paths of
// it and its key, and a pool that trusts it.
func writeCertificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, content := range map[string][]byte{
		certFile: certPEM,
		keyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}

// session begins an SMTP session on a connection.
func session(t *testing.T, conn net.Conn) *smtp.Client {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Hello("client.example"); err != nil {
		t.Fatal(err)
	}
	return c
}

// send logs in and sends a message.
func send(c *smtp.Client, name, password, to string) error {
	if err := c.Auth(smtp.PlainAuth("", name, password, "localhost")); err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	if err := c.Mail(name); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("Subject: test\r\n\r\nbody\r\n")); err != nil {
		return err
	}
	return w.Close()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestL4Handler(t *testing.T) {
	certFile, keyFile, pool := writeCertificate(t)
	tlsAddr, officeAddr, proxyAddr, narrowAddr := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	layer4 := fmt.Sprintf(`layer4 {
		%s {
			@tls tls
			route @tls {
				tls
				smtp routed
			}
		}
		%s {
			@office remote_ip 127.0.0.0/8
			route @office {
				smtp routed
			}
		}
		%s {
			route {
				proxy_protocol {
					allow 127.0.0.0/8
				}
				smtp routed
			}
		}
		%s {
			route {
				smtp narrow
			}
		}
	}
	smtp {
		server routed {
			tls starttls %s %s
		}
		server narrow {
			tls off
			max_conns 2
		}
	}`, tlsAddr, officeAddr, proxyAddr, narrowAddr, certFile, keyFile)
	g := newGateway(t)

	// caddy-l4 takes its certificates from the tls app, which no global
	// option gives files to.
	var cfg map[string]any
	if err := json.Unmarshal(g.config(t, layer4), &cfg); err != nil {
		t.Fatal(err)
	}
	cfg["apps"].(map[string]any)["tls"] = map[string]any{"certificates": map[string]any{
		"load_files": []any{map[string]any{"certificate": certFile, "key": keyFile}},
	}}
	body, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(body, true); err != nil {
		t.Fatal(err)
	}
	const name = "device@example.com"
	password := g.addAccount(t, name)
	tlsConfig := &tls.Config{RootCAs: pool, ServerName: "localhost"}

	t.Run("behind tls", func(t *testing.T) {
		conn := tls.Client(dial(t, tlsAddr), tlsConfig)
		c := session(t, conn)
		if ok, _ := c.Extension("STARTTLS"); ok {
			t.Error("STARTTLS is offered within TLS")
		}
		if err := send(c, name, password, "tls@example.org"); err != nil {
			t.Fatal(err)
		}
		if err := c.Quit(); err != nil {
			t.Error(err)
		}
	})

	t.Run("behind remote_ip", func(t *testing.T) {
		c := session(t, dial(t, officeAddr))
		if ok, _ := c.Extension("STARTTLS"); !ok {
			t.Error("STARTTLS is not offered")
		}
		if err := send(c, name, password, "office@example.org"); err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
	})

	t.Run("starttls behind a route", func(t *testing.T) {
		c := session(t, dial(t, officeAddr))
		if err := c.StartTLS(tlsConfig); err != nil {
			t.Fatal(err)
		}
		if err := send(c, name, password, "starttls@example.org"); err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
	})

	// The client's address is what the route says it is.
	t.Run("behind proxy_protocol", func(t *testing.T) {
		conn := dial(t, proxyAddr)
		if _, err := fmt.Fprint(conn, "PROXY TCP4 192.0.2.7 192.0.2.1 40000 25\r\n"); err != nil {
			t.Fatal(err)
		}
		c := session(t, conn)
		if ok, _ := c.Extension("AUTH"); ok {
			t.Error("AUTH is offered in the clear to a client that is not on loopback")
		}
		if a := g.do(t, "GET", "/smtp/sessions?server=routed", ""); !bytes.Contains(a.body, []byte(`"client_ip":"192.0.2.7"`)) {
			t.Errorf("sessions: %s", a.body)
		}
		if err := c.StartTLS(tlsConfig); err != nil {
			t.Fatal(err)
		}
		if err := send(c, name, password, "proxied@example.org"); err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
	})

	t.Run("limits hold", func(t *testing.T) {
		first, second := session(t, dial(t, narrowAddr)), session(t, dial(t, narrowAddr))
		conn := dial(t, narrowAddr)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := smtp.NewClient(conn, "localhost"); err == nil || err.Error()[:3] != "421" {
			t.Errorf("a third connection: %v", err)
		}
		_, _ = first.Quit(), second.Quit()
	})

	var got []string
	for _, m := range g.sandbox.Messages() {
		got = append(got, m.Rcpts...)
	}
	if want := "[tls@example.org office@example.org starttls@example.org proxied@example.org]"; fmt.Sprint(got) != want {
		t.Errorf("the provider has messages to %v, want %s", got, want)
	}

	// A reload keeps the route working, also for a session that is open.
	c := session(t, dial(t, officeAddr))
	if err := caddy.Load(append(body, ' '), true); err != nil {
		t.Fatal(err)
	}
	if err := send(c, name, password, "reloaded@example.org"); err != nil {
		t.Errorf("session across a reload: %v", err)
	}
	if err := send(session(t, dial(t, officeAddr)), name, password, "after@example.org"); err != nil {
		t.Errorf("after a reload: %v", err)
	}
}

func TestL4HandlerErrors(t *testing.T) {
	const route = `{"apps": {%s"layer4": {"servers": {"a": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "smtp"%s}]}]}}}}}`
	for _, tc := range []struct{ apps, handler, want string }{
		{"", ``, "server: the name of a server of the smtp app is missing"},
		{"", `, "server": "x"`, "server 'x': getting the smtp app"},
		{`"smtp": {}, `, `, "server": "x"`, "server 'x': the smtp app has no server of this name"},
		{`"smtp": {}, `, `, "sever": "x"`, `unknown field "sever"`},
	} {
		_, err := provision(t, fmt.Sprintf(route, tc.apps, tc.handler))
		wantError(t, err, tc.want)
	}
}
