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
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/spool"
)

// optedIn is a gateway with a second server that says `spool`, whose mode may be
// another, and a directory for what is kept.
func optedIn(t *testing.T, mode string) (g *gatewaytest.Gateway, server, dir string) {
	t.Helper()
	server, dir = gatewaytest.FreeAddress(t), filepath.Join(t.TempDir(), "own")
	g = gatewaytest.New(t, fmt.Sprintf(`smtp {
		server devices %s {
			tls off
			spool %s
		}
	}
	smtp_upstreams {
		spool {
			directory %s
			encryption_key %064x
			min_free 0.001 # whatever disk the tests run on
		}
	}`, server, mode, dir, 7))
	return g, server, dir
}

// submit sends a message through a server as an account.
func submit(t *testing.T, server, account, plain, to string) error {
	t.Helper()
	c := gatewaytest.Session(t, gatewaytest.Dial(t, server))
	if err := c.Auth(smtp.PlainAuth("", account, plain, "localhost")); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail(account); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(spoolText)); err != nil {
		return err
	}
	return w.Close()
}

// TestSpoolOptIn holds who has a spool: accounts that say so, and those without a
// word of a server that does. Nobody else's mail is kept, and no directory is
// made before it is needed.
func TestSpoolOptIn(t *testing.T) {
	g, devices, dir := optedIn(t, "on")
	if _, err := os.Stat(dir); err == nil {
		t.Error("the spool's directory is there without a message")
	}
	plain, hash := password.Generate()
	for _, mode := range []string{"", "on", "off", "always"} {
		field := ""
		if mode != "" {
			field = `, "spool": "` + mode + `"`
		}
		g.Do(t, "PUT", admin.AccountPath("a-"+mode+"@example.com"),
			`{"upstream": "sandbox", "secret": "upstream-password", "password_hashes": ["`+hash+`"]`+field+`}`).Want(201)
	}
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.3.0 not now"}); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, tc := range []struct {
		server, mode string
		kept         bool
	}{
		{g.SMTP, "", false},
		{g.SMTP, "on", true},
		{g.SMTP, "off", false},
		{g.SMTP, "always", true},
		{devices, "", true},
		{devices, "on", true},
		{devices, "off", false},
		{devices, "always", true},
	} {
		err := submit(t, tc.server, "a-"+tc.mode+"@example.com", plain, "to@example.org")
		if (err == nil) != tc.kept {
			t.Errorf("account with spool '%s' at %s: %v", tc.mode, tc.server, err)
		}
		if err != nil && !strings.Contains(err.Error(), "not now") {
			t.Errorf("account with spool '%s': the client heard %v in place of the provider's word", tc.mode, err)
		}
		if err == nil {
			kept++
		}
	}
	list := spool.Messages("", "")
	if kept == 0 || len(list) != kept || list[0].Upstream != "spool" {
		t.Fatalf("kept %d, in the spool: %+v", kept, list)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("example.com")) {
			t.Errorf("%s can be read without the key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Sandbox.ClearFaults()
	await(t, "the delivery", func() bool {
		for _, m := range spool.Messages("", "waiting") {
			_ = spool.Release(m.ID) // it may be on its way by itself
		}
		return int(g.Sandbox.MessageCount()) == kept && len(spool.Messages("", "")) == 0
	})
	out := string(g.Do(t, "GET", "/metrics", "").Body)
	for _, want := range []string{
		fmt.Sprintf(`caddy_smtp_spool_results_total{result="sent",spool="spool"} %d`, kept),
		`caddy_smtp_spool_messages{spool="spool",state="waiting"} 0`,
		`caddy_smtp_spool_up{spool="spool"} 1`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestSpoolStoreKey holds that the spool seals with the token store's key where it
// has none of its own.
func TestSpoolStoreKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "own")
	g := gatewaytest.New(t, fmt.Sprintf(`oauth_tokens {
		store storage {
			encryption_key %064x
		}
	}
	smtp_upstreams {
		spool {
			directory %s
			min_free 0.001 # whatever disk the tests run on
		}
	}`, 9, dir))
	plain, hash := password.Generate()
	g.Do(t, "PUT", admin.AccountPath("scanner@example.com"),
		`{"upstream": "sandbox", "secret": "upstream-password", "password_hashes": ["`+hash+`"], "spool": "on"}`).Want(201)
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "end", Action: "reply", Reply: "451 4.3.0 not now"}); err != nil {
		t.Fatal(err)
	}
	if err := submit(t, g.SMTP, "scanner@example.com", plain, "to@example.org"); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.msg"))
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("Subject")) || bytes.Contains(b, []byte("scanner")) {
		t.Error("the message can be read without the key")
	}
}

// TestSpoolReportsTo holds that the account's `reports` address is told, and that
// a provider that refuses the null sender gets the report from the mailbox.
func TestSpoolReportsTo(t *testing.T) {
	g, _, _ := optedIn(t, "on")
	plain, hash := password.Generate()
	g.Do(t, "PUT", admin.AccountPath("alarm@example.com"),
		`{"upstream": "sandbox", "secret": "upstream-password", "password_hashes": ["`+hash+`"], "spool": "always", "reports": "it@example.com"}`).Want(201)
	for _, f := range []sandbox.Fault{
		{Stage: "rcpt", Times: 1, Action: "reply", Reply: "550 5.1.1 no such user"},
		{Stage: "mail", Skip: 1, Times: 1, Action: "reply", Reply: "501 5.1.7 no null sender here"},
	} {
		if _, err := g.Sandbox.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := submit(t, g.SMTP, "alarm@example.com", plain, "gone@example.org"); err != nil {
		t.Fatal(err)
	}
	await(t, "the report", func() bool { return g.Sandbox.MessageCount() == 1 && len(spool.Messages("", "")) == 0 })
	got := g.Sandbox.Messages()[0]
	if got.From != "alarm@example.com" || len(got.Rcpts) != 1 || got.Rcpts[0] != "it@example.com" {
		t.Errorf("the report went out as %+v", got)
	}
	if body, _ := g.Sandbox.Body(got.ID); !strings.Contains(string(body), "From: Mail Delivery System <alarm@example.com>") ||
		!strings.Contains(string(body), "550 5.1.1 no such user") {
		t.Errorf("the report:\n%s", body)
	}
}

// TestSpoolCounts holds that kept mail leaves of an account whose messages are counted for
// a day, though it has sent nothing before: the count is stored first.
func TestSpoolCounts(t *testing.T) {
	g, server, _ := optedIn(t, "always")
	plain, hash := password.Generate()
	g.Do(t, "PUT", admin.AccountPath("counted@example.com"),
		`{"upstream": "sandbox", "secret": "upstream-password", "password_hashes": ["`+hash+`"], "limits": {"messages": "100/24h"}}`).Want(201)
	if err := submit(t, server, "counted@example.com", plain, "to@example.org"); err != nil {
		t.Fatal(err)
	}
	await(t, "the delivery", func() bool { return g.Sandbox.MessageCount() == 1 })
}
