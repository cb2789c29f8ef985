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

// Package e2e holds the tests of the whole: a real client on a socket, the
// gateway as Caddy runs it, and the sandbox as the provider. Deliveries are
// counted at the sandbox, never by the gateway's own 250.
package e2e

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/zap"

	_ "github.com/caddymail/mailgateway/caddymodule"
	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/sandbox"
)

const (
	testUser     = "alerts@example.com"
	testPassword = "made-up-password-1"
)

type object = map[string]any

// world is a gateway with one upstream, the sandbox.
type world struct {
	t       testing.TB
	sandbox *sandbox.Sandbox
	addr    string
	config  object
	closed  bool
	build   func() (string, error) // of the binary that run starts; nil: buildOnce
}

// option changes the configuration before it is loaded.
type option func(w *world, sb *sandbox.App)

func withServer(key string, value any) option {
	return func(w *world, _ *sandbox.App) { w.server()[key] = value }
}

func withUpstream(key string, value any) option {
	return func(w *world, _ *sandbox.App) { w.upstream()[key] = value }
}

func withSandbox(f func(*sandbox.App)) option {
	return func(_ *world, sb *sandbox.App) { f(sb) }
}

func withAccount(record object) option {
	return func(w *world, _ *sandbox.App) {
		source := w.app("smtp")["accounts"].([]any)[0].(object)
		source["accounts"] = append(source["accounts"].([]any), record)
	}
}

func (w *world) app(name string) object { return w.config["apps"].(object)[name].(object) }
func (w *world) server() object {
	return w.app("smtp")["servers"].(object)["local"].(object)
}

func (w *world) upstream() object {
	return w.app("smtp_upstreams")["upstreams"].(object)["sandbox"].(object)
}

func account(name, mailbox string) object {
	sum := sha256.Sum256([]byte(testPassword))
	return object{
		"name":            name,
		"mailbox":         mailbox,
		"upstream":        "sandbox",
		"password_hashes": []string{"sha256:" + hex.EncodeToString(sum[:])},
		"refresh_token":   "rt-" + mailbox,
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Loopback()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// newWorld starts a sandbox and a gateway in front of it. Both end with the test.
func newWorld(t testing.TB, opts ...option) *world {
	t.Helper()
	w := buildWorld(t, opts...)
	t.Cleanup(func() { w.sandbox.Close() })
	w.load()
	t.Cleanup(w.close)
	return w
}

// in is the same world for a subtest.
func (w *world) in(t testing.TB) *world {
	sub := *w
	sub.t = t
	return &sub
}

// buildWorld starts the sandbox and makes the gateway's configuration.
func buildWorld(t testing.TB, opts ...option) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, addr: freeAddr(t)}
	sb := &sandbox.App{
		SMTP: "127.0.0.1:0", SMTPS: "127.0.0.1:0", HTTP: "127.0.0.1:0",
		CAFile:     filepath.Join(dir, "ca.pem"),
		KeepBodies: true,
	}
	w.config = object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"storage": object{"module": "file_system", "root": filepath.Join(dir, "storage")},
		"logging": object{"logs": object{"default": object{"level": cmp.Or(os.Getenv("E2E_LOG"), "ERROR")}}},
		"apps": object{
			"oauth_tokens": object{
				"providers": object{"sandbox": object{
					"kind": "generic", "client_id": "sandbox", "client_secret": "sandbox-secret",
				}},
			},
			"smtp_upstreams": object{
				"upstreams": object{"sandbox": object{
					"auth": object{"mechanism": "xoauth2", "provider": "sandbox"},
					"tls": object{
						"mode":       "starttls",
						"trust_pool": object{"provider": "file", "pem_files": []string{sb.CAFile}},
					},
				}},
			},
			"smtp": object{
				"hostname": "gateway.test",
				"accounts": []any{object{"source": "inline", "accounts": []any{account(testUser, testUser)}}},
				"servers": object{"local": object{
					"listen": []string{w.addr},
					"tls":    object{"mode": "off"},
				}},
			},
		},
	}
	for _, o := range opts {
		o(w, sb)
	}
	var err error
	if w.sandbox, err = sandbox.Start(sb, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.upstream()["dial"]; !ok {
		w.upstream()["dial"] = w.sandbox.SMTPAddr()
	}
	provider := w.app("oauth_tokens")["providers"].(object)["sandbox"].(object)
	if _, ok := provider["token_url"]; !ok {
		provider["token_url"] = w.sandbox.HTTPURL() + "/token"
	}
	return w
}

// close ends the gateway; every session and upstream connection is over when
// it returns.
func (w *world) close() {
	if w.closed {
		return
	}
	w.closed = true
	if err := caddy.Stop(); err != nil {
		w.t.Errorf("stopping Caddy: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.sandbox.WaitNoConns(ctx); err != nil {
		w.t.Errorf("upstream connections left over: %v", err)
	}
}

// load puts the current configuration in force.
func (w *world) load() {
	w.t.Helper()
	if err := caddy.Load(w.json(), true); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) json() []byte {
	w.t.Helper()
	return mustJSON(w.t, w.config)
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestMain(m *testing.M) {
	// Nothing of a test may reach the user's own Caddy data.
	dir, err := os.MkdirTemp("", "mailgateway-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_DATA_HOME", dir)
	os.Setenv("XDG_CONFIG_HOME", dir)
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
