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
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"
	_ "github.com/caddyserver/caddy/v2/modules/caddypki"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/internal/front"
)

func init() { caddy.RegisterModule(upstreamApp{}) }

// caddyUpstream is what the test's app smtp_upstreams sends through.
var caddyUpstream = new(fakeUpstream)

// upstreamApp stands for the app smtp_upstreams.
type upstreamApp struct{ *fakeUpstream }

func (upstreamApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smtp_upstreams", New: func() caddy.Module { return &upstreamApp{caddyUpstream} }}
}
func (upstreamApp) Start() error { return nil }
func (upstreamApp) Stop() error  { return nil }

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Loopback()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

type object = map[string]any

// caddyConfig makes a configuration with one inline account.
func caddyConfig(t testing.TB, smtp object) object {
	t.Helper()
	app := object{
		"hostname":      "localhost",
		"drain_timeout": "300ms",
		"accounts":      []any{object{"source": "inline", "accounts": []any{testRecord(testUser)}}},
	}
	for k, v := range smtp {
		app[k] = v
	}
	return object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": "ERROR"}}},
		"storage": object{"module": "file_system", "root": filepath.Join(dataDir(t), "storage")},
		"apps": object{
			"smtp": app,
			"pki":  object{"certificate_authorities": object{"local": object{"install_trust": false}}},
		},
	}
}

func dataDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "smtpapp")
	if err != nil {
		t.Fatal(err)
	}
	// Caddy may be writing a certificate still.
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func load(t testing.TB, cfg object) error {
	t.Helper()
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return caddy.Load(b, true)
}

func mustLoad(t testing.TB, cfg object) {
	t.Helper()
	if err := load(t, cfg); err != nil {
		t.Fatal(err)
	}
}

func stopCaddy(t testing.TB) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
	front.AwaitDrains()
}

func TestCaddyServesMail(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	start, implicit, off := freeAddr(t), freeAddr(t), freeAddr(t)
	mustLoad(t, caddyConfig(t, object{"servers": object{
		"submission":  object{"listen": []string{start}},
		"submissions": object{"listen": []string{implicit}, "tls": object{"mode": "implicit"}},
		"local":       object{"listen": []string{off}, "tls": object{"mode": "off"}},
	}}))
	defer stopCaddy(t)
	message := `
		C: MAIL FROM:<a@example.com>
		C: RCPT TO:<b@example.org>
		C: DATA
		S: 250 2.1.0 Sender OK
		S: 250 2.1.5 Recipient OK
		S: 354 *
		C: hello %s
		C: .
		C: QUIT
		S: 250 2.0.0 OK 12345 provider
		S: 221 *
		EOF`
	// The certificate comes soon after the start.
	awaitCertificate(t, implicit)
	dial(t, start).play(`
		S: 220 localhost ESMTP Mailgateway
		C: EHLO client.test
		S: 250-localhost
		S: 250-PIPELINING
		S: 250-SIZE 26214400
		S: 250-8BITMIME
		S: 250-SMTPUTF8
		S: 250-ENHANCEDSTATUSCODES
		S: 250-CHUNKING
		S: 250-DSN
		S: 250-STARTTLS
		S: 250 AUTH PLAIN LOGIN
		C: STARTTLS
		S: 220 2.0.0 Ready to start TLS
		TLS
		C: EHLO client.test
		M: 250 AUTH PLAIN LOGIN
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		S: 235 *
	` + fmt.Sprintf(message, "starttls"))
	// A device is set up with whatever name the gateway has in its network.
	for _, name := range []string{"", "relay.test", "127.0.0.1", "mail_gateway", "MAIL_GW.office", "-mail", "a b"} {
		nc, err := tls.Dial("tcp", implicit, &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			t.Errorf("server name %q: %v", name, err)
			continue
		}
		if leaf := nc.ConnectionState().PeerCertificates[0]; leaf.VerifyHostname("localhost") != nil {
			t.Errorf("server name %q: %v", name, leaf.DNSNames)
		}
		_ = nc.Close()
	}
	c := dial(t, implicit)
	c.startTLS()
	c.play("LOGIN" + fmt.Sprintf(message, "implicit"))
	dial(t, off).play("LOGIN" + fmt.Sprintf(message, "off"))
	if got := caddyUpstream.taken(); len(got) != 3 {
		t.Errorf("got %d messages, want 3", len(got))
	}
}

// TestCertificateBesideHTTP starts with an HTTP site in the same configuration,
// whose app adds a certificate policy for all names: in an order that changes
// from start to start.
func TestCertificateBesideHTTP(t *testing.T) {
	t.Cleanup(func() { stopCaddy(t) })
	for range 30 {
		addr, site := freeAddr(t), freeAddr(t)
		cfg := caddyConfig(t, object{"servers": object{"s": object{"listen": []string{addr}, "tls": object{"mode": "implicit"}}}})
		cfg["apps"].(object)["http"] = object{"servers": object{"site": object{
			"listen": []string{site},
			"routes": []any{object{"match": []any{object{"host": []string{"127.0.0.1"}}}}},
		}}}
		mustLoad(t, cfg)
		awaitCertificate(t, addr)
		stopCaddy(t)
	}
}

// awaitCertificate connects until the handshake succeeds: the certificate is
// issued in the background.
func awaitCertificate(t testing.TB, addr string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		if err == nil {
			_ = nc.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
