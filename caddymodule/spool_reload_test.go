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
	"fmt"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/spool"
)

// TestSpoolReloads changes the configuration while a message waits: it leaves, once, and
// where it does not by itself what is wrong is said, and says how.
func TestSpoolReloads(t *testing.T) {
	const account = "scanner@example.com"
	keys := [3]string{fmt.Sprintf("%064x", 7), fmt.Sprintf("%064x", 8), fmt.Sprintf("%064x", 9)}
	for name, tc := range map[string]struct {
		// before and after are the spool's options; DIR is its directory. Where there is none
		// after, the configuration has no such spool.
		before, after string
		// more is what the configuration has besides, then.
		more string
		// account is what the account becomes.
		account string
		// wrong is what is wrong meanwhile; mended are the options with which it is not.
		wrong, mended string
		givenUp       bool
	}{
		"nothing":                  {before: "directory DIR", after: "directory DIR"},
		"fewer messages":           {before: "directory DIR", after: "directory DIR\nmax_messages 1", wrong: "spool_full"},
		"fewer octets":             {before: "directory DIR", after: "directory DIR\nmax_size 1B", wrong: "spool_full"},
		"a longer life":            {before: "directory DIR", after: "directory DIR\ngive_up_after 240h"},
		"a shorter life":           {before: "directory DIR", after: "directory DIR\ngive_up_after 1ms", givenUp: true},
		"another directory":        {before: "directory DIR", after: "directory DIR2", wrong: "spool_left", mended: "directory DIR"},
		"another in Caddy's own":   {before: "directory DATA/own", after: "directory DIR2", wrong: "spool_left", mended: "directory DATA/own"},
		"the default left":         {before: "", after: "directory DIR2", wrong: "spool_left", mended: " "},
		"no spool":                 {before: "directory DIR", wrong: "spool_left", mended: "directory DIR"},
		"a key more":               {before: "directory DIR\nencryption_key " + keys[0], after: "directory DIR\nencryption_key " + keys[1] + " " + keys[0]},
		"another key":              {before: "directory DIR\nencryption_key " + keys[0], after: "directory DIR\nencryption_key " + keys[1], wrong: "spool_unread", mended: "directory DIR\nencryption_key " + keys[2] + " " + keys[0]},
		"no key":                   {before: "directory DIR\nencryption_key " + keys[0], after: "directory DIR", wrong: "spool_unread", mended: "directory DIR\nencryption_key " + keys[0]},
		"a first key":              {before: "directory DIR", after: "directory DIR\nencryption_key " + keys[0]},
		"others hear of it":        {before: "directory DIR", after: "directory DIR\nreports it@example.com"},
		"the account's upstream":   {before: "directory DIR", after: "directory DIR", account: `"upstream": "sandbox"`},
		"the account is paused":    {before: "directory DIR", after: "directory DIR", account: `"upstream": "kept", "paused": true`},
		"the upstream's own spool": {before: "directory DIR", more: "smtp_upstreams {\nspool {\ndirectory DIR\nmin_free 0.001\n}\n}", account: `"upstream": "sandbox"`},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			t.Setenv("XDG_DATA_HOME", filepath.Join(base, "data"))
			data := caddy.AppDataDir()
			with := func(options string) string {
				if options == "" && tc.after == "" && tc.before != "" {
					return strings.ReplaceAll(tc.more, "DIR", filepath.Join(base, "d1"))
				}
				options = strings.NewReplacer("DIR2", filepath.Join(base, "d2"), "DIR", filepath.Join(base, "d1"), "DATA", data).Replace(options)
				return "smtp_upstreams {\nupstream kept {\ntransport spool sandbox {\nmin_free 0.001\n" + options + "\n}\n}\n}"
			}
			g := gatewaytest.New(t, with(tc.before))
			plain, hash := password.Generate()
			put := func(fields string) {
				t.Helper()
				g.Do(t, "PUT", admin.AccountPath(account), `{`+fields+`, "secret": "upstream-password", "password_hashes": ["`+hash+`"]}`)
			}
			put(`"upstream": "kept"`)
			fault, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.3.0 not now"})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				submitTo(t, g.SMTP, account, plain)
			}
			if n := len(spool.Messages("", "")); n != 2 {
				t.Fatalf("%d messages are kept", n)
			}
			g.Load(t, with(tc.after))
			if tc.account != "" {
				put(tc.account)
			}
			wrong := func() string {
				return fmt.Sprint(g.Do(t, "GET", "/smtp/problems", "").Want(200)["problems"])
			}
			if tc.wrong != "" {
				await(t, "that it is said: "+tc.wrong, func() bool { return strings.Contains(wrong(), tc.wrong) })
			}
			if tc.givenUp {
				await(t, "given up", func() bool { return strings.Contains(wrong(), "given_up") })
				return
			}
			g.Sandbox.RemoveFault(fault)
			if tc.mended != "" {
				g.Load(t, with(tc.mended))
			}
			if strings.Contains(tc.account, "paused") {
				put(`"upstream": "kept"`)
			}
			await(t, "delivered", func() bool {
				for _, m := range spool.Messages("", "") {
					_ = spool.Release(m.ID)
				}
				return len(g.Sandbox.Messages()) == 2 && len(spool.Messages("", "")) == 0
			})
			await(t, "that nothing is wrong", func() bool { return !strings.Contains(wrong(), "spool") })
			if n := len(g.Sandbox.Messages()); n != 2 {
				t.Errorf("%d messages arrived, want 2", n)
			}
		})
	}
}

// submitTo sends a message, which is to be taken.
func submitTo(t *testing.T, server, account, plain string) {
	t.Helper()
	c := gatewaytest.Session(t, gatewaytest.Dial(t, server))
	if err := c.Auth(smtp.PlainAuth("", account, plain, "localhost")); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail(account); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("to@example.org"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(spoolText)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSpoolsApart holds that no two spools of a configuration have one directory: each
// would send the other's mail through its own upstream.
func TestSpoolsApart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	g := gatewaytest.New(t)
	two := fmt.Sprintf("smtp_upstreams {\nupstream one {\ntransport spool sandbox {\ndirectory %[1]s\n}\n}\nupstream two {\ntransport spool oauth {\ndirectory %[1]s/../d\n}\n}\n}", dir)
	if err := caddy.Load(g.Config(t, two), true); err == nil || !strings.Contains(err.Error(), "each needs its own") {
		t.Errorf("loaded: %v", err)
	}
	own := fmt.Sprintf("smtp_upstreams {\nspool {\ndirectory %[1]s\n}\nupstream two {\ntransport spool oauth {\ndirectory %[1]s\n}\n}\n}", dir)
	if err := caddy.Load(g.Config(t, own), true); err == nil || !strings.Contains(err.Error(), "each needs its own") {
		t.Errorf("loaded: %v", err)
	}
	one := fmt.Sprintf("smtp_upstreams {\nupstream one {\ntransport spool sandbox {\ndirectory %s\n}\n}\n}", dir)
	for range 2 {
		if err := caddy.Load(g.Config(t, one), true); err != nil {
			t.Errorf("a reload: %v", err)
		}
	}
}
