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

package command_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/operate"
)

func TestAccountCommands(t *testing.T) {
	g := gatewaytest.New(t)
	const name = "alerts@example.com"

	out := g.MustRun(t, "planted-refresh-token\n", "account", "add", name, "--upstream", "sandbox",
		"--refresh-token-file", "-", "--label", "site=berlin", "--sender", name, "--rate", "10/1m")
	m := regexp.MustCompile(`(?m)^password: (\S+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no password in %q", out)
	}
	password := m[1]

	shown := g.MustRun(t, "", "account", "show", name)
	if strings.Contains(shown, password) || strings.Contains(shown, "planted") {
		t.Errorf("a secret is shown: %s", shown)
	}
	var view admin.AccountView
	if err := json.Unmarshal([]byte(shown), &view); err != nil {
		t.Fatal(err)
	}
	if view.Upstream != "sandbox" || !view.HasRefreshToken || view.Labels["site"] != "berlin" || view.Limits.Rate.String() != "10/1m" {
		t.Errorf("shown %+v", view)
	}
	if dir, err := operate.Directory(); err != nil {
		t.Fatal(err)
	} else if _, err := dir.Authenticate(context.Background(), name, password); err != nil {
		t.Errorf("the password that was shown: %v", err)
	}

	_, stderr, err := g.Run(t, "", "account", "add", name, "--upstream", "sandbox")
	if err == nil || !strings.Contains(stderr, "exists") {
		t.Errorf("adding again: %v, %q", err, stderr)
	}
	_, stderr, err = g.Run(t, "", "account", "add", "b@example.com", "--upstream", "sandbox", "--rate", "fast")
	if err == nil || !strings.Contains(stderr, "field 'limits") {
		t.Errorf("malformed rate: %v, %q", err, stderr)
	}

	out = g.MustRun(t, "", "account", "set", name, "--new-password", "--json")
	var changed struct{ Password string }
	if err := json.Unmarshal([]byte(out), &changed); err != nil || changed.Password == "" || changed.Password == password {
		t.Errorf("new password: %v, %s", err, out)
	}
	if out := g.MustRun(t, "", "account", "set", name, "--mailbox", "robot@example.com"); strings.Contains(out, "password") {
		t.Errorf("a password is shown: %s", out)
	}

	g.MustRun(t, "", "account", "pause", name)
	if out := g.MustRun(t, "", "account", "list", "--state", "paused"); !strings.Contains(out, name) || !strings.Contains(out, "site=berlin") {
		t.Errorf("paused accounts: %s", out)
	}
	g.MustRun(t, "", "account", "resume", name)
	if out := g.MustRun(t, "", "account", "list", "--state", "paused", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("paused accounts: %s", out)
	}
	g.MustRun(t, "", "account", "remove", name)
	if _, stderr, err := g.Run(t, "", "account", "show", name); err == nil || !strings.Contains(stderr, accounts.ErrNotFound.Error()) {
		t.Errorf("showing a removed account: %v, %q", err, stderr)
	}
	if _, stderr, err := g.Run(t, "", "account", "remove", "x@example.com", "y@example.com"); err == nil ||
		!strings.Contains(stderr, "x@example.com") || !strings.Contains(stderr, "y@example.com") {
		t.Errorf("removing unknown accounts: %v, %q", err, stderr)
	}
}

func TestImportExportCommands(t *testing.T) {
	g := gatewaytest.New(t)
	const lines = `{"name":"a@example.com","upstream":"sandbox","secret":"planted","labels":{"n":"1"}}
{"name":"b@example.com","upstream":"sandbox","mailbox":"m@example.com","limits":{"messages":"10/24h"}}
`
	if out := g.MustRun(t, lines, "account", "import"); !strings.Contains(out, "2 created, 0 updated, 0 unchanged, 0 failed") {
		t.Errorf("import: %s", out)
	}
	exported := g.MustRun(t, "", "account", "export")
	if strings.Contains(exported, "planted") || strings.Count(exported, "\n") != 2 {
		t.Errorf("export: %s", exported)
	}
	// What was exported changes nothing, and costs no secret.
	if out := g.MustRun(t, exported, "account", "import", "-"); !strings.Contains(out, "0 created, 0 updated, 2 unchanged, 0 failed") {
		t.Errorf("import of the export: %s", out)
	}
	if m := g.Do(t, "GET", admin.AccountPath("a@example.com"), "").Want(http.StatusOK); m["has_secret"] != true {
		t.Error("the secret is lost")
	}

	file := filepath.Join(t.TempDir(), "accounts.jsonl")
	if err := os.WriteFile(file, []byte(lines+"{\"name\":\"c@example.com\",\"colour\":1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr, err := g.Run(t, "", "account", "import", file)
	if err == nil || !strings.Contains(out, "1 failed") || !strings.Contains(stderr, "line 3: c@example.com: field 'colour': unknown field") {
		t.Errorf("bad line: %v, %q, %q", err, out, stderr)
	}
	out, _, err = g.Run(t, "", "account", "import", file, "--json")
	if err == nil || strings.Count(out, "\n") != 3 {
		t.Errorf("--json: %v, %s", err, out)
	}
	if out := g.MustRun(t, lines, "account", "import", "--dry-run"); strings.Contains(out, "planted") || !strings.Contains(out, `"has_secret":true`) {
		t.Errorf("dry run: %s", out)
	}
	// What only the gateway knows is in the dry run, too.
	const wrong = `{"name":"d@example.com","upstream":"sandbx"}` + "\n"
	for _, args := range [][]string{{"account", "import", "--dry-run"}, {"account", "import"}} {
		_, stderr, err := g.Run(t, wrong, args...)
		if err == nil || !strings.Contains(stderr, "line 1: d@example.com: field 'upstream': there is no upstream 'sandbx'") {
			t.Errorf("%v of an unknown upstream: %v, %q", args, err, stderr)
		}
	}
	const fresh = `{"name":"e@example.com","upstream":"oauth"}` + "\n"
	g.MustRun(t, fresh, "account", "import", "--dry-run")
	g.Do(t, "GET", admin.AccountPath("e@example.com"), "").Want(http.StatusNotFound)
	if _, stderr, err := (&gatewaytest.Gateway{Admin: gatewaytest.FreeAddress(t)}).Run(t, fresh, "account", "import", "--dry-run"); err != nil || !strings.Contains(stderr, "not checked: whether the upstreams exist") {
		t.Errorf("no gateway: %v, %q", err, stderr)
	}
	if _, stderr, err := g.Run(t, "", "account", "import", "--format", "xml"); err == nil || !strings.Contains(stderr, "jsonl") {
		t.Errorf("unknown format: %v, %q", err, stderr)
	}
}

func TestImportForeignCommand(t *testing.T) {
	g := gatewaytest.New(t)
	const file = `{"_comment": "made up", "accounts": [
  {"account_id": "one", "email": "one@example.com", "provider": "gmail", "client_id": "client-1",
   "client_secret": "planted-secret", "refresh_token": "planted-token-1"},
  {"account_id": "two", "email": "two@example.com", "provider": "gmail"}
]}
`
	out, stderr, err := g.Run(t, file, "account", "import", "--format", "predecessor")
	if err == nil || !strings.Contains(stderr, "1 account of the file cannot be used") {
		t.Errorf("a bad account: %v, %s", err, stderr)
	}
	if !strings.Contains(stderr, "provider google") || !strings.Contains(stderr, "upstream gmail") {
		t.Errorf("no configuration is suggested: %s", stderr)
	}
	m := regexp.MustCompile(`(?m)^one@example.com password: (\S+)$`).FindStringSubmatch(out)
	if m == nil || !strings.Contains(out, "1 created") {
		t.Fatalf("no password: %s", out)
	}
	if strings.Contains(out+stderr, "planted") {
		t.Errorf("a secret is shown: %s%s", out, stderr)
	}
	dir, err := operate.Directory()
	if err != nil {
		t.Fatal(err)
	}
	if a, err := dir.Authenticate(context.Background(), "one@example.com", m[1]); err != nil || a.RefreshToken != "planted-token-1" {
		t.Errorf("the imported account: %v, %v", a, err)
	}
	// Once more: no other password, nothing changed.
	out, _, _ = g.Run(t, file, "account", "import", "--format", "predecessor")
	if strings.Contains(out, "password") || !strings.Contains(out, "1 unchanged") {
		t.Errorf("the second import: %s", out)
	}
}

func TestSnippetCommand(t *testing.T) {
	g := gatewaytest.New(t)
	g.MustRun(t, `{"name":"a@example.com","upstream":"sandbox"}
{"name":"b@example.com","upstream":"sandbox","senders":["b@example.com","*@b.example.com"],"labels":{"x":"1"}}
`, "account", "import")

	for mta, want := range map[string][2][]string{
		"postfix": {
			{"relayhost = [gw.example.com]:587", "[gw.example.com]:587 a@example.com:PASSWORD", "smtp_tls_security_level = secure"},
			{"smtp_sender_dependent_authentication = yes", "\na@example.com a@example.com:PASSWORD", "\n@b.example.com b@example.com:PASSWORD"},
		},
		"exim": {
			{"route_list = * gw.example.com", "client_send = ^a@example.com^PASSWORD"},
			{"connection_max_messages = 1", "\n*@b.example.com: b@example.com:PASSWORD"},
		},
		"powermta": {
			{"<virtual-mta mailgateway-a-example-com>", "auth-username a@example.com"},
			{"mail-from /@b\\.example\\.com$/ virtual-mta=mailgateway-b-example-com"},
		},
		"kumomta": {
			{"['a@example.com'] = 'a@example.com'", "enable_tls = 'Required'"},
			{"['@b.example.com'] = 'b@example.com'"},
		},
	} {
		for i, args := range [][]string{{"a@example.com"}, nil} {
			out := g.MustRun(t, "", append([]string{"snippet", mta, "--gateway", "gw.example.com:587"}, args...)...)
			for _, text := range want[i] {
				if !strings.Contains(out, text) {
					t.Errorf("%s: no %q in\n%s", mta, text, out)
				}
			}
		}
	}
	if out := g.MustRun(t, "", "snippet", "postfix", "--gateway", "gw.example.com:465", "--label", "x"); !strings.Contains(out, "smtp_tls_wrappermode = yes") || strings.Contains(out, "a@example.com") {
		t.Errorf("implicit TLS: %s", out)
	}
	for _, args := range [][]string{{"snippet", "sendmail"}, {"snippet", "postfix", "nobody@example.com"}, {"snippet", "postfix", "--label", "none"}, {"snippet", "postfix", "--gateway", "gw"}} {
		if out, _, err := g.Run(t, "", args...); err == nil {
			t.Errorf("caddy smtp %v prints %s", args, out)
		}
	}
}

// TestCommandProcess holds that Caddy has the command.
func TestCommandProcess(t *testing.T) {
	g := gatewaytest.New(t)
	g.AddAccount(t, "a@example.com")
	out, err := gatewaytest.Process(t, "account", "list", "--address", g.Admin).Output()
	if err != nil || !strings.Contains(string(out), "a@example.com") {
		t.Errorf("%v, %s", err, out)
	}
	out, err = gatewaytest.Process(t, "account", "show", "b@example.com", "--address", g.Admin).CombinedOutput()
	if err == nil || !strings.Contains(string(out), accounts.ErrNotFound.Error()) {
		t.Errorf("%v, %s", err, out)
	}
}

// TestCommandWithoutGateway holds that the error says what may be wrong.
func TestCommandWithoutGateway(t *testing.T) {
	g := &gatewaytest.Gateway{Admin: gatewaytest.FreeAddress(t)}
	_, stderr, err := g.Run(t, "", "account", "list")
	if err == nil || !strings.Contains(stderr, "is the gateway running?") {
		t.Errorf("%v, %q", err, stderr)
	}
}

// TestCommandWithAdminOff holds that a configuration without an admin API is said,
// and that what answers at its usual address is not taken for its gateway.
func TestCommandWithAdminOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin off\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := gatewaytest.Process(t, "account", "list", "--config", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has `admin off`") {
		t.Errorf("%v, %s", err, out)
	}
}

func TestSandboxCommand(t *testing.T) {
	cmd := gatewaytest.Process(t, "sandbox", "--json", "--smtp", "127.0.0.1:0", "--smtps", "127.0.0.1:0", "--http", "127.0.0.1:0", "--profile", "microsoft")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addresses struct{ SMTP, SMTPS, HTTP string }
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&addresses); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(addresses.HTTP + "/messages")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/messages: %d", resp.StatusCode)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("at the end: %v", err)
	}
}
