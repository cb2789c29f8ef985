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

package docs

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/spf13/cobra"

	_ "github.com/caddymail/mailgateway"
	"github.com/caddymail/mailgateway/internal/testpki"
)

// fence is a fenced block, with what stands after its backticks.
var fence = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// blocks returns the fenced blocks of a language, with what is before the
// first one counted as line 1.
func blocks(text, language string) map[int]string {
	all := make(map[int]string)
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		if text[m[2]:m[3]] == language {
			all[strings.Count(text[:m[4]], "\n")+1] = text[m[4]:m[5]]
		}
	}
	return all
}

// secrets puts made-up ones where the pages' configurations look for them.
func secrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "CREDENTIALS_DIRECTORY"} {
		t.Setenv(name, dir)
	}
	sealing := base64.StdEncoding.EncodeToString([]byte("made-up-key-made-up-key-made-up-"))
	for _, name := range []string{"MS_TENANT", "MS_CLIENT_ID", "MS_SECRET", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "ACME_SECRET", "ZOHO_PASSWORD"} {
		t.Setenv(name, "made-up")
	}
	t.Setenv("TOKEN_KEY", sealing)
	t.Setenv("HOOK", "https://hooks.example.com/made-up")
	t.Setenv("ACCOUNT_KEY", sealing)
	digest := "sha256:" + strings.Repeat("5c", 32)
	t.Setenv("SCANNER_HASH", digest)

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "gateway@made-up.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"ms-secret": "made-up", "google-secret": "made-up", "token-key": sealing, "old-token-key": sealing, "account-key": sealing,
		"scanner-hash": digest, "erp-hash": digest, "alerts.token": "made-up", "google.json": string(account), "ms.pem": certificate(),
		"federated.jwt": "made-up", "slack": "https://hooks.example.com/made-up\n", "token": "made-up", "microsoft": "made-up", "ldap": "made-up",
		"accounts.jsonl": `{"name":"a@example.com","upstream":"gmail","password_hashes":["` + digest + `"]}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func certificate() string {
	cert, key := testpki.PEM(testpki.SelfSigned(testpki.Leaf{
		CommonName: "made-up", NotAfter: time.Now().AddDate(1, 0, 0), Trusted: true,
	}))
	return string(cert) + string(key)
}

// elsewhere are the directories of the pages' configurations that the test
// has in a directory of its own.
func elsewhere(text, dir string) string {
	return strings.NewReplacer("/etc/mailgateway/credentials", dir, "/etc/mailgateway", dir, "/mnt/shared/caddy", dir, "/var/log/caddy", dir, "/etc/acme-ca.pem", dir+"/ms.pem").Replace(text)
}

// TestCaddyfiles adapts each Caddyfile on a page; one that has every app that
// its accounts need is provisioned, too.
func TestCaddyfiles(t *testing.T) {
	dir := secrets(t)
	n := 0
	for file, text := range pages(t) {
		for line, block := range blocks(text, "caddyfile") {
			n++
			raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(elsewhere(block, dir)), map[string]any{"filename": file})
			if err != nil {
				t.Errorf("%s:%d: %v", file, line, err)
				continue
			}
			for _, w := range warnings {
				t.Errorf("%s:%d: warning: %s", file, line, w)
			}
			provision(t, file, line, raw)
		}
	}
	if n < 10 {
		t.Errorf("only %d Caddyfiles on the pages", n)
	}
}

// provision decodes strictly and provisions, if the apps are complete.
func provision(t *testing.T, file string, line int, raw []byte) {
	t.Helper()
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(raw, &cfg); err != nil {
		t.Errorf("%s:%d: %v", file, line, err)
		return
	}
	if _, ok := cfg.AppsRaw["smtp"]; ok {
		if _, ok := cfg.AppsRaw["smtp_upstreams"]; !ok {
			return
		}
	}
	if up, ok := cfg.AppsRaw["smtp_upstreams"]; ok && needsOAuth(up) && cfg.AppsRaw["oauth_tokens"] == nil {
		return
	}
	cfg.Admin = &caddy.AdminConfig{Disabled: true}
	if err := caddy.Validate(&cfg); err != nil {
		t.Errorf("%s:%d: %v", file, line, err)
	}
}

// needsOAuth tells whether an upstream logs in with OAuth. Of the presets all
// but one do.
func needsOAuth(app json.RawMessage) bool {
	var v struct {
		Upstreams map[string]struct {
			Auth struct{ Mechanism string }
		}
	}
	if json.Unmarshal(app, &v) != nil {
		return true
	}
	for name, u := range v.Upstreams {
		switch u.Auth.Mechanism {
		case "plain", "login", "none":
		case "":
			if name != "zoho" {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// TestJSON decodes each JSON block on a page, and provisions those that are
// configurations.
func TestJSON(t *testing.T) {
	dir := secrets(t)
	for file, text := range pages(t) {
		for line, block := range blocks(text, "json") {
			var v any
			if err := json.Unmarshal([]byte(block), &v); err != nil {
				t.Errorf("%s:%d: %v", file, line, err)
				continue
			}
			if m, ok := v.(map[string]any); ok && m["apps"] != nil {
				provision(t, file, line, []byte(elsewhere(block, dir)))
			}
		}
	}
}

// commandLine is a line that calls us, under whichever name.
var commandLine = regexp.MustCompile(`(?m)(?:^|[|;&(] *|sudo |-- )(?:\./)?(?:mailgateway|caddy) ([a-z].*)$`)

// TestCommands holds that each command line on a page is of a command that
// exists, with flags that it has.
func TestCommands(t *testing.T) {
	n := 0
	for file, text := range pages(t) {
		for line, block := range blocks(text, "sh") {
			for _, m := range commandLine.FindAllStringSubmatch(strings.ReplaceAll(block, "\\\n", " "), -1) {
				n++
				if err := checkCommand(m[1]); err != "" {
					t.Errorf("%s:%d: %s: %s", file, line, m[1], err)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d command lines on the pages", n)
	}
}

func checkCommand(line string) string {
	words := strings.Fields(line)
	for i, w := range words {
		if strings.ContainsAny(w, "|;<>#&") && !strings.HasPrefix(w, "'") && !strings.HasPrefix(w, `"`) {
			words = words[:i]
			break
		}
	}
	registered, ok := caddycmd.Commands()[words[0]]
	if !ok {
		return "no such command"
	}
	cmd := &cobra.Command{Use: registered.Name}
	switch {
	case registered.CobraFunc != nil:
		registered.CobraFunc(cmd)
	case registered.Flags != nil:
		cmd.Flags().AddGoFlagSet(registered.Flags)
	}
	rest := words[1:]
	for len(rest) > 0 && cmd.HasSubCommands() {
		var next *cobra.Command
		for _, sub := range cmd.Commands() {
			if sub.Name() == rest[0] {
				next = sub
			}
		}
		if next == nil {
			return "no such subcommand " + rest[0]
		}
		cmd, rest = next, rest[1:]
	}
	for _, w := range rest {
		name, _, _ := strings.Cut(w, "=")
		if long, ok := strings.CutPrefix(name, "--"); ok && long != "" {
			if cmd.Flag(long) == nil && cmd.InheritedFlags().Lookup(long) == nil {
				return "no such flag " + w
			}
			continue
		}
		if strings.HasPrefix(name, "-") && len(name) == 2 {
			if cmd.Flags().ShorthandLookup(name[1:]) == nil && cmd.InheritedFlags().ShorthandLookup(name[1:]) == nil {
				return "no such flag " + w
			}
		}
	}
	return ""
}

// flagUsage begins a flag's line in a command's help.
var flagUsage = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`)

// TestFlagsAreDocumented holds that accounts.md names each command of `caddy
// smtp` and each of its flags.
func TestFlagsAreDocumented(t *testing.T) {
	text, options := read(t, "accounts.md"), read(t, "configuration.md")
	root := &cobra.Command{Use: "smtp"}
	caddycmd.Commands()["smtp"].CobraFunc(root)
	n := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() != "sandbox" && !cmd.HasSubCommands() && !strings.Contains(text, cmd.Name()) {
			t.Errorf("accounts.md does not name %s", cmd.CommandPath())
		}
		for _, m := range flagUsage.FindAllStringSubmatch(cmd.LocalFlags().FlagUsages(), -1) {
			n++
			named := strings.Contains(text, "`--"+m[1]+"`") || strings.Contains(text, "`--"+m[1]+" ")
			if cmd.Name() == "sandbox" {
				option := "`" + strings.ReplaceAll(m[1], "-", "_")
				named = named || strings.Contains(options, option+"`") || strings.Contains(options, option+" ")
			}
			if !named && m[1] != "help" {
				t.Errorf("no page names --%s of %s", m[1], cmd.CommandPath())
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if n < 40 {
		t.Errorf("found only %d flags", n)
	}
}
