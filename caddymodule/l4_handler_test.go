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

package caddymodule_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/smtp"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

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

func TestL4Handler(t *testing.T) {
	certFile, keyFile, pool := caddymodule.WriteCertificate(t)
	tlsAddr, officeAddr, proxyAddr, narrowAddr := gatewaytest.FreeAddress(t), gatewaytest.FreeAddress(t), gatewaytest.FreeAddress(t), gatewaytest.FreeAddress(t)
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
	g := gatewaytest.New(t)

	// caddy-l4 takes its certificates from the tls app, which no global
	// option gives files to.
	var cfg map[string]any
	if err := json.Unmarshal(g.Config(t, layer4), &cfg); err != nil {
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
	password := g.AddAccount(t, name)
	tlsConfig := &tls.Config{RootCAs: pool, ServerName: "localhost"}

	t.Run("behind tls", func(t *testing.T) {
		conn := tls.Client(gatewaytest.Dial(t, tlsAddr), tlsConfig)
		c := gatewaytest.Session(t, conn)
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
		c := gatewaytest.Session(t, gatewaytest.Dial(t, officeAddr))
		if ok, _ := c.Extension("STARTTLS"); !ok {
			t.Error("STARTTLS is not offered")
		}
		if err := send(c, name, password, "office@example.org"); err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
	})

	t.Run("starttls behind a route", func(t *testing.T) {
		c := gatewaytest.Session(t, gatewaytest.Dial(t, officeAddr))
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
		conn := gatewaytest.Dial(t, proxyAddr)
		if _, err := fmt.Fprint(conn, "PROXY TCP4 192.0.2.7 192.0.2.1 40000 25\r\n"); err != nil {
			t.Fatal(err)
		}
		c := gatewaytest.Session(t, conn)
		if ok, _ := c.Extension("AUTH"); ok {
			t.Error("AUTH is offered in the clear to a client that is not on loopback")
		}
		if a := g.Do(t, "GET", "/smtp/sessions?server=routed", ""); !bytes.Contains(a.Body, []byte(`"client_ip":"192.0.2.7"`)) {
			t.Errorf("sessions: %s", a.Body)
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
		first, second := gatewaytest.Session(t, gatewaytest.Dial(t, narrowAddr)), gatewaytest.Session(t, gatewaytest.Dial(t, narrowAddr))
		conn := gatewaytest.Dial(t, narrowAddr)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := smtp.NewClient(conn, "localhost"); err == nil || err.Error()[:3] != "421" {
			t.Errorf("a third connection: %v", err)
		}
		_, _ = first.Quit(), second.Quit()
	})

	var got []string
	for _, m := range g.Sandbox.Messages() {
		got = append(got, m.Rcpts...)
	}
	if want := "[tls@example.org office@example.org starttls@example.org proxied@example.org]"; fmt.Sprint(got) != want {
		t.Errorf("the provider has messages to %v, want %s", got, want)
	}

	// A reload keeps the route working, also for a session that is open.
	c := gatewaytest.Session(t, gatewaytest.Dial(t, officeAddr))
	if err := caddy.Load(append(body, ' '), true); err != nil {
		t.Fatal(err)
	}
	if err := send(c, name, password, "reloaded@example.org"); err != nil {
		t.Errorf("session across a reload: %v", err)
	}
	if err := send(gatewaytest.Session(t, gatewaytest.Dial(t, officeAddr)), name, password, "after@example.org"); err != nil {
		t.Errorf("after a reload: %v", err)
	}
}
