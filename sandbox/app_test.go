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

package sandbox

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
)

func init() {
	caddy.RegisterModule(new(poolTester))
	caddy.RegisterModule(new(failingApp))
}

// poolTester is an app with a trust pool, as an upstream has one.
type poolTester struct {
	CARaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`
	pool  *x509.CertPool
}

func (*poolTester) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "sandbox_test_pool", New: func() caddy.Module { return new(poolTester) }}
}

func (p *poolTester) Provision(ctx caddy.Context) error {
	m, err := ctx.LoadModule(p, "CARaw")
	if err != nil {
		return err
	}
	p.pool = m.(caddytls.CA).CertPool()
	return nil
}
func (*poolTester) Start() error { return nil }
func (*poolTester) Stop() error  { return nil }

// failingApp makes a configuration fail after its provisioning. Apps start in
// random order, so it waits for the sandbox.
type failingApp struct{ sandbox *App }

func (*failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "sandbox_test_failing", New: func() caddy.Module { return new(failingApp) }}
}

func (f *failingApp) Provision(ctx caddy.Context) error {
	app, err := ctx.App("smtp_sandbox")
	f.sandbox, _ = app.(*App)
	return err
}

func (f *failingApp) Start() error { return fmt.Errorf("failing on purpose") }
func (*failingApp) Stop() error    { return nil }

func load(t *testing.T, apps string) error {
	t.Helper()
	return caddy.Load([]byte(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"storage": {"module": "file_system", "root": `+fmt.Sprintf("%q", filepath.Join(os.Getenv("SANDBOX_TEST_STORAGE"), "caddy"))+`},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {`+apps+`}}`), true)
}

func active(t *testing.T) *Sandbox {
	t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("smtp_sandbox")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App).Sandbox()
}

func addresses() string { return `"smtp":"127.0.0.1:0","smtps":"127.0.0.1:0","http":"127.0.0.1:0"` }

// A client that trusts Caddy's local authority trusts the sandbox.
func TestUsePKI(t *testing.T) {
	t.Setenv("SANDBOX_TEST_STORAGE", t.TempDir())
	t.Cleanup(func() { _ = caddy.Stop() })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	err := load(t, `
		"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
		"sandbox_test_pool": {"trust_pool": {"provider": "pki_root", "authority": ["local"]}},
		"smtp_sandbox": {`+addresses()+`, "use_pki": true, "ca_file": `+fmt.Sprintf("%q", ca)+`}`)
	if err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().AppIfConfigured("sandbox_test_pool")
	if err != nil {
		t.Fatal(err)
	}
	pool := app.(*poolTester).pool
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		c, err := tls.Dial("tcp", active(t).SMTPSAddr(), &tls.Config{RootCAs: pool, ServerName: name})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Close()
	}
	data, err := os.ReadFile(ca)
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(data) {
		t.Errorf("ca_file: %v %q", err, data)
	}
}

// Messages, tokens and connections survive reloads; policy does not wait.
func TestReload(t *testing.T) {
	t.Setenv("SANDBOX_TEST_STORAGE", t.TempDir())
	t.Cleanup(func() { _ = caddy.Stop() })
	config := func(more string) string {
		return `"smtp_sandbox": {` + addresses() + `, "plaintext_auth": true` + more + `}`
	}
	if err := load(t, config("")); err != nil {
		t.Fatal(err)
	}
	s := active(t)
	w := login(t, s, "a@example.com")
	one := func(code string) {
		t.Helper()
		w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 2 LAST\r\n\r\n")
		w.want(code)
		if code == "250" {
			w.want("250", "250")
		} else {
			w.want("503", "503")
		}
	}
	one("250")
	token := s.IssueToken("a@example.com")
	if err := load(t, config(`, "faults": [{"stage":"mail","action":"reply","reply":"451 4.0.0 No"}]`)); err != nil {
		t.Fatal(err)
	}
	if active(t) != s {
		t.Fatal("another sandbox")
	}
	one("451")
	if s.oauth.Check(token, "a@example.com") != "ok" {
		t.Error("the token is gone")
	}
	if err := load(t, config(`, "recipients_per_day": 1`)); err != nil {
		t.Fatal(err)
	}
	w.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 2 LAST\r\n\r\n")
	w.want("250", "250", "550 5.4.5")
	if err := load(t, config(`, "faults": [{"stage":"mail","action":"reply","reply":"451 4.0.0 No"}]`)); err != nil {
		t.Fatal(err)
	}
	// A configuration that fails leaves the one before it in force.
	for range 8 { // apps start in random order
		err := load(t, config(`, "faults": [{"stage":"mail","action":"reply","reply":"452 4.0.0 No"}]`)+`, "sandbox_test_failing": {}`)
		if err == nil || !strings.Contains(err.Error(), "on purpose") {
			t.Fatal(err)
		}
		one("451")
	}
	if err := load(t, config("")); err != nil {
		t.Fatal(err)
	}
	one("250")
	if n := s.MessageCount(); n != 2 {
		t.Errorf("%d messages", n)
	}
	if refs, ok := running.References("127.0.0.1:0 127.0.0.1:0 127.0.0.1:0"); !ok || refs != 1 {
		t.Errorf("%d references", refs)
	}
	if err := load(t, ""); err != nil {
		t.Fatal(err)
	}
	w.gone()
	if c, err := net.Dial("tcp", s.SMTPAddr()); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
	for want, more := range map[string]string{
		"unrecognized profile 'x'": `, "profile": "x"`, "token_size: at most": `, "token_size": 9000`,
		"rtt: must not": `, "rtt": -1`, "unrecognized conn_limit_at": `, "conn_limit_at": "x"`,
		"assertion_keys 'a'": `, "assertion_keys": {"a": "/nonexistent"}`, "bogus": `, "bogus": 1`,
	} {
		if err := load(t, config(more)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
