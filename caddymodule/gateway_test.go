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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/sandbox"
)

// gateway is a Caddy that runs in this process.
type gateway struct {
	admin, smtp string
	sandbox     *sandbox.Sandbox
	caFile      string
	dir         string
}

// freeAddress is an address that nobody listened at a moment ago. Caddy's
// admin endpoint does not tell which port it got, so it cannot be port 0.
func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := freeport.Loopback()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// newGateway starts a sandbox, and a gateway in front of it whose accounts are
// dynamic. Each of more stands in the global options.
func newGateway(t *testing.T, more ...string) *gateway {
	t.Helper()
	g := &gateway{admin: freeAddress(t), smtp: freeAddress(t), dir: t.TempDir()}
	g.caFile = filepath.Join(g.dir, "ca.pem")
	sb, err := sandbox.Start(&sandbox.App{CAFile: g.caFile, Password: "upstream-password", KeepBodies: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	g.sandbox = sb
	t.Cleanup(func() { _ = caddy.Stop() })
	g.load(t, more...)
	return g
}

func (g *gateway) load(t *testing.T, more ...string) {
	t.Helper()
	if err := caddy.Load(g.config(t, more...), true); err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) config(t *testing.T, more ...string) []byte {
	t.Helper()
	cfg, err := adapt(t, fmt.Sprintf(`{
	admin %s
	persist_config off
	storage file_system %s
	log {
		level ERROR
	}
	oauth_tokens {
		provider sandbox generic {
			token_url %[3]s/token
			auth_url %[3]s/authorize
			device_auth_url %[3]s/device
			client_id sandbox
			client_secret sandbox-secret
		}
	}
	smtp_upstreams {
		upstream sandbox {
			dial %[4]s
			tls starttls {
				trust_pool file %[5]s
			}
			auth plain
		}
		upstream oauth {
			dial %[4]s
			tls starttls {
				trust_pool file %[5]s
			}
			auth xoauth2 sandbox
		}
	}
	smtp {
		hostname localhost
		accounts {
			dynamic
		}
		server local %[6]s {
			tls off
		}
	}
	%[7]s
}
`, g.admin, filepath.Join(g.dir, "storage"), g.sandbox.HTTPURL(), g.sandbox.SMTPAddr(), g.caFile, g.smtp, strings.Join(more, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(cfg)
}

// addAccount adds an account that can send, and returns its password.
func (g *gateway) addAccount(t *testing.T, name string) string {
	t.Helper()
	password, hash := accounts.GeneratePassword()
	g.do(t, "PUT", accountPath(name),
		`{"upstream": "sandbox", "secret": "upstream-password", "password_hashes": ["`+hash+`"]}`).want(http.StatusCreated)
	return password
}

// answer is what the admin API answered.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// do sends a request to the admin API. header holds names and values.
func (g *gateway) do(t *testing.T, method, path, body string, header ...string) *answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+g.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	for try := 0; errors.Is(err, syscall.ECONNRESET) && try < 20; try++ {
		// Caddy's admin endpoint may drop a connection at a reload.
		req.Body = io.NopCloser(strings.NewReader(body))
		resp, err = http.DefaultClient.Do(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{t, resp.StatusCode, resp.Header, content}
}

// want checks the status and decodes the body.
func (a *answer) want(status int) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	m := make(map[string]any)
	if len(bytes.TrimSpace(a.body)) > 0 {
		if err := json.Unmarshal(a.body, &m); err != nil {
			a.t.Fatalf("%v: %s", err, a.body)
		}
	}
	return m
}

// commandVar makes the test binary a Caddy with our modules, to run commands
// in without building one.
const commandVar = "MAILGATEWAY_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVar) != "" {
		caddycmd.Main()
		return
	}
	// Nothing that a test does may reach the user's own directories.
	dir, err := os.MkdirTemp("", "caddymodule")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"} {
		_ = os.Setenv(name, dir)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
