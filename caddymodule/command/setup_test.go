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
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
)

// setupIn is `smtp setup` for the sandbox in a process of its own.
func setupIn(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := gatewaytest.Process(t, append([]string{"setup", "--dir", dir}, args...)...)
	cmd.Env = append(cmd.Env, "HOME="+t.TempDir())
	return cmd
}

func startSandbox(t *testing.T) (sb *sandbox.Sandbox, flags []string) {
	t.Helper()
	tmp := t.TempDir()
	ca, secret := filepath.Join(tmp, "ca.pem"), filepath.Join(tmp, "secret")
	sb, err := sandbox.Start(&sandbox.App{CAFile: ca, KeepBodies: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	if err := os.WriteFile(secret, []byte("sandbox-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return sb, []string{
		"--provider", "other", "--dial", sb.SMTPAddr(), "--token-url", sb.HTTPURL() + "/token", "--auth-url", sb.HTTPURL() + "/authorize",
		"--client-id", "sandbox", "--client-secret-file", secret, "--ca-file", ca,
		"--mailbox", "scanner@example.com", "--to", "kim@example.org", "--hostname", "localhost",
	}
}

var consentURL = regexp.MustCompile(`^(http://\S+/authorize\?\S+)$`)

// consentTo runs a setup and consents when it asks for that.
func consentTo(t *testing.T, cmd *exec.Cmd) (output string, consents int, err error) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if m := consentURL.FindStringSubmatch(lines.Text()); m != nil {
			consents++
			get(t, http.DefaultClient, m[1])
		}
	}
	err = cmd.Wait()
	return all.String() + errOut.String(), consents, err
}

// TestSetup goes from an empty directory to a test mail that the provider has, with
// the binary, and again without a second consent.
func TestSetup(t *testing.T) {
	sb, flags := startSandbox(t)
	dir := filepath.Join(t.TempDir(), "gateway")
	out, consents, err := consentTo(t, setupIn(t, dir, flags...))
	if err != nil || consents != 1 || !strings.Contains(out, "was accepted by the provider") || !strings.Contains(out, "run --config "+filepath.Join(dir, "Caddyfile")) {
		t.Fatalf("%v, %d consents\n%s", err, consents, out)
	}
	msgs := sb.Messages()
	if len(msgs) != 1 || msgs[0].From != "scanner@example.com" || msgs[0].Rcpts[0] != "kim@example.org" {
		t.Fatalf("the provider has %+v", msgs)
	}
	config, err := os.ReadFile(filepath.Join(dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join(dir, "setup.json"))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"output": out, "configuration": string(config), "answers": string(state)} {
		if strings.Contains(text, "sandbox-secret") {
			t.Errorf("the secret is in the %s", what)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "credentials", "provider_secret")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v (%v)", st, err)
	}

	// Taken up again: the answers, the secret, the consent and the password stay.
	out, consents, err = consentTo(t, setupIn(t, dir))
	if err != nil || consents != 0 || !strings.Contains(out, "consent of scanner@example.com: there") {
		t.Fatalf("again: %v, %d consents\n%s", err, consents, out)
	}
	if n := len(sb.Messages()); n != 2 {
		t.Errorf("the provider has %d messages", n)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "Caddyfile")); err != nil || !bytes.Equal(again, config) {
		t.Errorf("the configuration is another (%v)", err)
	}

	// What the operator has changed is not overwritten.
	mine := append(config, "# mine\n"...)
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), mine, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err = consentTo(t, setupIn(t, dir))
	if err == nil || !strings.Contains(out, "--replace") {
		t.Errorf("a changed configuration: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "Caddyfile")); err != nil || !bytes.Equal(got, mine) {
		t.Errorf("it was overwritten (%v)", err)
	}
}

// TestSetupSays holds what setup says where it cannot go on.
func TestSetupSays(t *testing.T) {
	sb, flags := startSandbox(t)
	flag := func(name, value string) []string {
		changed := append([]string(nil), flags...)
		for i := range changed {
			if changed[i] == name {
				changed[i+1] = value
			}
		}
		return changed
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("another-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := gatewaytest.FreeAddress(t)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no answer":           {[]string{"--provider", "other"}, "--dial: an answer is needed"},
		"no secret":           {flags[:len(flags)-10], "an answer is needed"},
		"unknown provider":    {flag("--provider", "yahoo"), "--provider: 'yahoo' is none of microsoft, google, other"},
		"an injected line":    {flag("--client-id", "a\n\t}"), "--client-id: "},
		"no mailbox":          {flag("--mailbox", "scanner"), "--mailbox: 'scanner' is no mail address"},
		"closed port":         {flag("--dial", closed), "FAILED  mail server " + closed},
		"no token endpoint":   {flag("--token-url", sb.HTTPURL()+"/nowhere"), "The endpoint is not there"},
		"a secret that fails": {flag("--client-secret-file", wrong), "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := consentTo(t, setupIn(t, t.TempDir(), tc.args...))
			if err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v, want %q\n%s", err, tc.want, out)
			}
			if strings.Contains(out, "another-secret") || strings.Contains(out, "sandbox-secret") {
				t.Errorf("the secret is shown:\n%s", out)
			}
		})
	}
	if n := len(sb.Messages()); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}
