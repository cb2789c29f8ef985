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

// Package gatewaytest runs a whole gateway in front of a sandbox, for tests of
// what asks a running one: admin API, commands, pages.
package gatewaytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
	"github.com/spf13/cobra"

	"github.com/caddymail/mailgateway/accounts"
	_ "github.com/caddymail/mailgateway/caddymodule"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/command"
	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/sandbox"
)

// Gateway is a Caddy that runs in this process.
type Gateway struct {
	Admin, SMTP string
	Sandbox     *sandbox.Sandbox
	CAFile      string
	Dir         string
}

// FreeAddress is an address that nobody listened at a moment ago. Caddy's
// admin endpoint does not tell which port it got, so it cannot be port 0.
func FreeAddress(t *testing.T) string {
	t.Helper()
	addr, err := freeport.Loopback()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// New starts a sandbox, and a gateway in front of it whose accounts are
// dynamic. Each of more stands in the global options.
func New(t *testing.T, more ...string) *Gateway {
	t.Helper()
	g := &Gateway{Admin: FreeAddress(t), SMTP: FreeAddress(t), Dir: t.TempDir()}
	g.CAFile = filepath.Join(g.Dir, "ca.pem")
	sb, err := sandbox.Start(&sandbox.App{CAFile: g.CAFile, Password: "upstream-password", KeepBodies: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	g.Sandbox = sb
	t.Cleanup(func() { _ = caddy.Stop() })
	g.Load(t, more...)
	return g
}

func (g *Gateway) Load(t *testing.T, more ...string) {
	t.Helper()
	if err := caddy.Load(g.Config(t, more...), true); err != nil {
		t.Fatal(err)
	}
}

func (g *Gateway) Config(t *testing.T, more ...string) []byte {
	t.Helper()
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
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
`, g.Admin, filepath.Join(g.Dir, "storage"), g.Sandbox.HTTPURL(), g.Sandbox.SMTPAddr(), g.CAFile, g.SMTP, strings.Join(more, "\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// AddAccount adds an account that can send, and returns its password.
func (g *Gateway) AddAccount(t *testing.T, name string) string {
	t.Helper()
	password, hash := accounts.GeneratePassword()
	g.Do(t, "PUT", admin.AccountPath(name),
		`{"upstream": "sandbox", "secret": "upstream-password", "password_hashes": ["`+hash+`"]}`).Want(http.StatusCreated)
	return password
}

// Answer is what the admin API answered.
type Answer struct {
	t      *testing.T
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request to the admin API. header holds names and values.
func (g *Gateway) Do(t *testing.T, method, path, body string, header ...string) *Answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+g.Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	for try := 0; (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && try < 20; try++ {
		// Caddy's admin endpoint may drop a connection at a reload, one that
		// it has not read a request from.
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
	return &Answer{t, resp.StatusCode, resp.Header, content}
}

// Want checks the status and decodes the body.
func (a *Answer) Want(status int) map[string]any {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	m := make(map[string]any)
	if len(bytes.TrimSpace(a.Body)) > 0 {
		if err := json.Unmarshal(a.Body, &m); err != nil {
			a.t.Fatalf("%v: %s", err, a.Body)
		}
	}
	return m
}

// CommandVar makes the test binary a Caddy with our modules, to run commands
// in without building one.
const CommandVar = "MAILGATEWAY_TEST_COMMAND"

// Main is a TestMain: it runs the tests, or the command that a test has started
// the test binary for.
func Main(m *testing.M) {
	if os.Getenv(CommandVar) != "" {
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

// Process is `caddy smtp ARGS...` as a process.
func Process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"smtp"}, args...)...)
	cmd.Env = append(os.Environ(), CommandVar+"=1")
	return cmd
}

// Run runs a command against the gateway, in this process, and returns what it
// prints.
func (g *Gateway) Run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	err = g.Execute(strings.NewReader(stdin), &out, &errOut, args...)
	return out.String(), errOut.String(), err
}

// Execute runs a command against the gateway, in this process.
func (g *Gateway) Execute(stdin io.Reader, stdout, stderr io.Writer, args ...string) error {
	cmd := &cobra.Command{Use: "smtp"}
	command.Setup(cmd)
	cmd.SetArgs(append(args, "--address", g.Admin))
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.Execute()
}

// MustRun is Run for commands that must succeed.
func (g *Gateway) MustRun(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := g.Run(t, stdin, args...)
	if err != nil {
		t.Fatalf("caddy smtp %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// Session begins an SMTP session on a connection.
func Session(t *testing.T, conn net.Conn) *smtp.Client {
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

// Dial connects to an address.
func Dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
