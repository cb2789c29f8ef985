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
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/operate"
)

// startLoginCommand runs `caddy smtp login` and returns the first submatch of
// what it asks for.
func startLoginCommand(t *testing.T, g *gatewaytest.Gateway, ask string, args ...string) (asked string, stdin io.Writer, wait func() (string, string, error)) {
	t.Helper()
	inReader, in := io.Pipe()
	out, outWriter := io.Pipe()
	t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	var stderr bytes.Buffer
	done := make(chan error, 1)
	go func() {
		err := g.Execute(inReader, outWriter, &stderr, append([]string{"login"}, args...)...)
		_ = outWriter.Close()
		done <- err
	}()
	lines := bufio.NewReader(out)
	re := regexp.MustCompile(ask)
	for {
		line, err := lines.ReadString('\n')
		if m := re.FindStringSubmatch(line); m != nil {
			asked = m[1]
			break
		}
		if err != nil {
			<-done
			t.Fatalf("nothing was asked: %s", stderr.String())
		}
	}
	return asked, in, func() (string, string, error) {
		rest, _ := io.ReadAll(lines)
		err := <-done
		return string(rest), stderr.String(), err
	}
}

func get(t *testing.T, client *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

func TestLoginCommand(t *testing.T) {
	g := gatewaytest.New(t)
	const name = "robot@example.com"
	g.MustRun(t, "", "account", "add", name, "--upstream", "oauth", "--password-hash", "sha256:"+strings.Repeat("0", 64))
	check := func(t *testing.T, out, stderr string, err error) {
		t.Helper()
		if err != nil || !strings.Contains(out, "Consent for "+name+" given") {
			t.Errorf("%v\n%s%s", err, out, stderr)
		}
		m := g.Do(t, "GET", "/oauth_tokens?account="+name, "").Want(http.StatusOK)
		if list := m["accounts"].([]any); len(list) != 1 || list[0].(map[string]any)["consent"] == nil {
			t.Errorf("tokens: %v", m)
		}
	}

	t.Run("browser", func(t *testing.T) {
		url, _, wait := startLoginCommand(t, g, `^(http\S+)`, name)
		if resp := get(t, http.DefaultClient, url); resp.StatusCode != http.StatusOK {
			t.Errorf("the browser gets %d", resp.StatusCode)
		}
		out, stderr, err := wait()
		check(t, out, stderr, err)
	})

	t.Run("pasted", func(t *testing.T) {
		url, stdin, wait := startLoginCommand(t, g, `^(http\S+)`, name, "--redirect-url", "http://127.0.0.1:9/callback")
		stay := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		redirected := get(t, stay, url).Header.Get("Location")
		if _, err := io.WriteString(stdin, "http://127.0.0.1:9/callback?code=x&state=y\n"+redirected+"\n"); err != nil {
			t.Fatal(err)
		}
		out, stderr, err := wait()
		check(t, out, stderr, err)
		if !strings.Contains(stderr, "state differs") {
			t.Errorf("a foreign address: %s", stderr)
		}
	})

	t.Run("device", func(t *testing.T) {
		code, _, wait := startLoginCommand(t, g, `type the code (\S+)`, name, "--device")
		get(t, http.DefaultClient, g.Sandbox.HTTPURL()+"/device?user_code="+code)
		out, stderr, err := wait()
		check(t, out, stderr, err)
	})

	t.Run("refused", func(t *testing.T) {
		url, _, wait := startLoginCommand(t, g, `^(http\S+)`, name)
		redirect := regexp.MustCompile(`redirect_uri=([^&]+)`).FindStringSubmatch(url)[1]
		state := regexp.MustCompile(`state=([^&]+)`).FindStringSubmatch(url)[1]
		redirect = strings.NewReplacer("%3A", ":", "%2F", "/").Replace(redirect)
		get(t, http.DefaultClient, redirect+"/?error=access_denied&state="+state)
		_, stderr, err := wait()
		if err == nil || !strings.Contains(stderr, "access_denied") || !strings.Contains(stderr, "refused consent") {
			t.Errorf("%v, %s", err, stderr)
		}
	})

	t.Run("no OAuth", func(t *testing.T) {
		g.MustRun(t, "", "account", "add", "plain@example.com", "--upstream", "sandbox")
		_, stderr, err := g.Run(t, "", "login", "plain@example.com")
		if err == nil || !strings.Contains(stderr, operate.ErrNoOAuth.Error()) {
			t.Errorf("%v, %s", err, stderr)
		}
	})

	for _, path := range []string{"/oauth_tokens", "/smtp/accounts/" + name} {
		if body := g.Do(t, "GET", path, "").Body; bytes.Contains(body, []byte("rt-")) || bytes.Contains(body, []byte("sandbox-secret")) {
			t.Errorf("GET %s shows a secret: %s", path, body)
		}
	}
	g.Do(t, "GET", "/smtp/logins/none", "").Want(http.StatusNotFound)
	g.Do(t, "POST", admin.AccountPath(name)+"/login", `{"devise": true}`).Want(http.StatusBadRequest)
}

// TestNeedsConsent holds that a revoked account is shown as such.
func TestNeedsConsent(t *testing.T) {
	g := gatewaytest.New(t)
	const name = "revoked@example.com"
	g.Do(t, "PUT", admin.AccountPath(name), `{"upstream": "oauth", "refresh_token": "rt-`+name+`", "password_hashes": ["sha256:`+
		strings.Repeat("0", 64)+`"]}`).Want(http.StatusCreated)
	g.Sandbox.RevokeMailbox(name)

	dir, err := operate.Directory()
	if err != nil {
		t.Fatal(err)
	}
	a, ok := dir.Lookup(name)
	if !ok {
		t.Fatal("no account")
	}
	app, err := operate.App[interface {
		Warm(grant.Request)
	}]("oauth_tokens")
	if err != nil {
		t.Fatal(err)
	}
	app.Warm(operate.GrantOf("sandbox", a))
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if m := g.Do(t, "GET", admin.AccountPath(name), "").Want(http.StatusOK); m["state"] == "needs_consent" {
			if m["token"].(map[string]any)["state"] != "reauth_required" {
				t.Errorf("account: %v", m)
			}
			list := g.Do(t, "GET", "/smtp/accounts?state=needs_consent", "").Want(http.StatusOK)
			if len(list["accounts"].([]any)) != 1 {
				t.Errorf("list: %v", list)
			}
			return
		}
	}
	t.Error("the account is never shown as in need of consent")
}
