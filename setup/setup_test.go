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

package setup_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/caddymail/mailgateway/caddymodule/gatewaytest" // the modules, to adapt with
	. "github.com/caddymail/mailgateway/setup"
)

const (
	id1 = "00000000-0000-0000-0000-000000000001"
	id2 = "00000000-0000-0000-0000-000000000002"
)

// filledIn are the answers to each of the ways.
func filledIn(t *testing.T) map[string]Answers {
	key := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(key, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{
		"tenant": "contoso.onmicrosoft.com", "client-id": id1, "object-id": id2, "key-file": key, "mailbox": "scanner@contoso.com",
		"to": "kim@example.org", "hostname": "mail.contoso.com", "dial": "mail.example.com:465", "tls": "implicit",
		"token-url": "https://id.example.com/token", "auth-url": "https://id.example.com/authorize",
	}
	all := make(map[string]Answers)
	for _, first := range []Answers{{Provider: Microsoft, Way: App, Transport: SMTP}, {Provider: Microsoft, Way: User, Transport: SMTP}, {Provider: Microsoft, Way: App, Transport: Graph}, {Provider: Microsoft, Way: User, Transport: Graph}, {Provider: Microsoft, Way: Personal}, {Provider: Google, Way: App}, {Provider: Google, Way: User}, {Provider: Other, Way: User}} {
		a := first
		for range 20 {
			q, ok := Missing(&a)
			if !ok {
				break
			}
			if err := q.Set(&a, answers[q.Name]); err != nil {
				t.Fatalf("%s: %v", q.Name, err)
			}
		}
		name := string(a.Provider) + " " + string(a.Way)
		if a.Graph() {
			name += " graph"
		}
		all[name] = a
	}
	return all
}

// TestConfigurations holds that each way leads to a configuration that Caddy takes,
// with what the provider needs.
func TestConfigurations(t *testing.T) {
	want := map[string][]string{
		"microsoft app":  {`"grant":"client_credentials"`, `"tenant":"contoso.onmicrosoft.com"`, id1, "_secret}"},
		"microsoft user": {`"tenant":"contoso.onmicrosoft.com"`, id1, "_secret}"},
		"microsoft app graph": {
			`"grant":"client_credentials"`, `"app_only":true,"provider":"graph","transport":"graph"`, `"kind":"microsoft"`, `"scopes":["https://graph.microsoft.com/.default"]`, "graph_secret}",
		},
		"microsoft user graph":     {`"provider":"graph","transport":"graph"`, `"tenant":"contoso.onmicrosoft.com"`, `"scopes":["https://graph.microsoft.com/Mail.Send","offline_access"]`},
		"microsoft personal graph": {`"provider":"outlook","scopes":[`, `"tenant":"consumers"`, `"transport":"graph","user":"me"`, `"scopes":["https://graph.microsoft.com/Mail.Send","https://graph.microsoft.com/User.Read","offline_access"]`},
		"google app":               {`"grant":"service_account"`, "key.json"},
		"google user":              {id1, "_secret}"},
		"other user":               {"mail.example.com:465", "https://id.example.com/token", `"mode":"implicit"`},
	}
	for name, a := range filledIn(t) {
		text := Caddyfile(&a, "/etc/mail gateway", "sha256:"+strings.Repeat("0", 64))
		adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		for _, w := range warnings {
			if !strings.Contains(w.Message, "not formatted") {
				t.Errorf("%s: %s", name, w.Message)
			}
		}
		for _, part := range append(want[name], "scanner@contoso.com", "mail.contoso.com", ":465") {
			if !strings.Contains(string(adapted), part) {
				t.Errorf("%s lacks %s:\n%s", name, part, adapted)
			}
		}
		if !json.Valid(adapted) || strings.Contains(string(adapted), "CLIENT_ID") {
			t.Errorf("%s: %s", name, adapted)
		}
	}
}

// TestSecondOfAKind holds that a second one of each kind is that kind under another name,
// and takes nothing from the first.
func TestSecondOfAKind(t *testing.T) {
	for name, a := range filledIn(t) {
		first := a
		a.Number = 2
		if SecretFile("/d", &a) == SecretFile("/d", &first) || KeyFile("/d", &a) == KeyFile("/d", &first) {
			t.Errorf("%s: the second one's secret takes the first one's place", name)
		}
		var all strings.Builder
		for _, a := range []*Answers{&first, &a} {
			fmt.Fprintf(&all, "%s", Additions(a, "/d", Have{Servers: true, Accounts: true}, 2525))
		}
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n"+all.String()+"}\n"), nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, all.String())
			continue
		}
		var cfg struct {
			Apps struct {
				Tokens struct {
					Providers map[string]struct {
						Kind string `json:"kind"`
					} `json:"providers"`
				} `json:"oauth_tokens"`
				Upstreams struct {
					Upstreams map[string]json.RawMessage `json:"upstreams"`
				} `json:"smtp_upstreams"`
			} `json:"apps"`
		}
		if err := json.Unmarshal(adapted, &cfg); err != nil {
			t.Fatal(err)
		}
		second := cfg.Apps.Tokens.Providers[a.OAuth()]
		if kind := string(a.Provider); a.Provider != Other && second.Kind != kind || len(cfg.Apps.Tokens.Providers) != 2 || len(cfg.Apps.Upstreams.Upstreams) != 2 {
			t.Errorf("%s:\n%s", name, adapted)
		}
		if u := string(cfg.Apps.Upstreams.Upstreams[a.Upstream()]); !strings.Contains(u, `"`+a.OAuth()+`"`) {
			t.Errorf("%s: the second upstream is %s", name, u)
		}
	}
}

// TestTasks holds that every value is filled in where the operator pastes it, and
// that a value cannot leave its quotes.
func TestTasks(t *testing.T) {
	for name, a := range filledIn(t) {
		tasks := Tasks(&a)
		if len(tasks) == 0 {
			t.Errorf("%s: nothing to do", name)
		}
		if script := fmt.Sprint(tasks); strings.Contains(name, "graph") && (strings.Contains(script, "SmtpClientAuthentication") || strings.Contains(script, "Application Mail.Send") != (a.Way == App)) {
			t.Errorf("%s: %s", name, script)
		}
		for _, task := range tasks {
			for _, c := range task.Commands {
				if strings.Contains(c, "MAILBOX'") || strings.Contains(c, "_ID'") {
					t.Errorf("%s: %s", name, c)
				}
			}
		}
	}
	a := Answers{Provider: Microsoft, Way: App, Mailbox: "o'neill@example.com"}
	text := strings.Join(Tasks(&a)[1].Commands, "\n")
	if !strings.Contains(text, "'o''neill@example.com'") || !strings.Contains(text, "'OBJECT_ID'") {
		t.Error(text)
	}
}

// TestAnswersAreWords holds that no answer can bring a line of its own into the
// configuration.
func TestAnswersAreWords(t *testing.T) {
	for _, q := range append(All(), Options()...) {
		if q.Name == "scopes" {
			continue // they are several words by nature
		}
		for _, bad := range []string{"x y", "x\ny", "{env.HOME}", "x`y", "x\"y", "x#y"} {
			if err := q.Set(new(Answers), bad); err == nil {
				t.Errorf("%s takes %q", q.Name, bad)
			}
		}
		var a Answers
		if err := q.Set(&a, "\"{x}\""); err == nil {
			t.Errorf("%s takes braces in quotes: %q", q.Name, q.Get(&a))
		}
	}
}

// TestPasted: answers as people type and paste them.
func TestPasted(t *testing.T) {
	const id, other = "11111111-2222-3333-4444-555555555555", "22222222-2222-3333-4444-555555555555"
	full := Answers{Provider: Microsoft, Way: App, Tenant: other, ClientID: id}
	for _, tc := range []struct{ name, text, want, wrong string }{
		{"provider", "Office 365", "microsoft", ""},
		{"provider", "2", "google", ""},
		{"provider", "Gmail", "google", ""},
		{"provider", "Micro", "microsoft", ""},
		{"provider", "Fastmail", "", "none of"},
		{"provider", "4", "", "none of"},
		{"provider", "Outlook.com", "microsoft", ""},
		{"way", "App-only", "app", ""},
		{"way", "consumers", "personal", ""},
		{"transport", "SMTP AUTH", "smtp", ""},
		{"transport", "Microsoft Graph", "graph", ""},
		{"mailbox", "kim@outlook.com", "", "is a personal mailbox"},
		{"mailbox", "Scanner <scanner@contoso.com>", "scanner@contoso.com", ""},
		{"mailbox", "<scanner@contoso.com>", "scanner@contoso.com", ""},
		{"mailbox", " \u200bscanner@contoso.com\u00a0", "scanner@contoso.com", ""},
		{"mailbox", "scanner", "", "no mail address"},
		{"hostname", "https://mail.contoso.com/", "mail.contoso.com", ""},
		{"hostname", "mail.contoso.com:587", "", "has a port"},
		{"hostname", "*.contoso.com", "", "no name"},
		{"hostname", "\xc401\v\x00\xec", "", "no name"},
		{"hostname", "mail\u00a0contoso", "", "no name"},
		{"hostname", "mail\x1b[2J.contoso.com", "", "no name"},
		{"hostname", "bücher.example", "bücher.example", ""},
		{"tenant", "admin@contoso.com", "", "as in contoso.com"},
		{"tenant", "Contoso", "", "neither a domain"},
		{"tenant", "“contoso.onmicrosoft.com”", "contoso.onmicrosoft.com", ""},
		{"client-id", other, "", "the directory (tenant) ID"},
		{"client-id", "abc8Q~abcdefghijklmnopqrstuvwxyz0123456", "", "client secret's value"},
		{"object-id", id, "", "the object ID is another"},
	} {
		for _, q := range Questions(&full) {
			if q.Name != tc.name {
				continue
			}
			a := full
			err := q.Set(&a, tc.text)
			if tc.wrong == "" && (err != nil || q.Get(&a) != tc.want) {
				t.Errorf("%s %q: %q, %v", tc.name, tc.text, q.Get(&a), err)
			}
			if tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong) || strings.Contains(err.Error(), "8Q~")) {
				t.Errorf("%s %q: %v", tc.name, tc.text, err)
			}
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add("mailbox", "scanner@example.com")
	f.Add("hostname", "mail.example.com")
	f.Add("client-id", "x{$HOME}")
	f.Add("hostname", "\xc401\v\x00\x00\xec")
	f.Add("mailbox", "0@|")
	f.Add("mailbox", "0@!")
	f.Add("hostname", "::")
	f.Add("hostname", "--mail")
	f.Add("hostname", "a“b")
	f.Add("client-id", "a\u0085b\u2028c")
	f.Fuzz(func(t *testing.T, name, value string) {
		a := Answers{
			Provider: Other, Way: User, Mailbox: "a@example.com", To: "b@example.com", Hostname: "h", Dial: "h:25", TLS: "starttls",
			TokenURL: "https://h/t", AuthURL: "https://h/a", ClientID: "c",
		}
		for _, q := range All() {
			if q.Name != name || name == "key-file" || name == "ca-file" || name == "provider" {
				continue
			}
			if q.Set(&a, value) != nil {
				continue
			}
			text := Caddyfile(&a, "/d", "sha256:"+strings.Repeat("0", 64))
			if strings.Count(text, "\n") != strings.Count(Caddyfile(&Answers{
				Provider: Other, Way: User, Mailbox: "a@example.com", To: "b@example.com", Hostname: a.Hostname, Dial: "h:25", TLS: "starttls",
				TokenURL: "https://h/t", AuthURL: "https://h/a", ClientID: "c", Scopes: a.Scopes,
			}, "/d", "sha256:"+strings.Repeat("0", 64)), "\n") {
				t.Errorf("%s %q changes the configuration's lines:\n%s", name, value, text)
			}
			if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil); err != nil && name != "dial" {
				t.Errorf("%s %q: %v", name, value, err)
			}
		}
	})
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	if _, found, err := Load(dir); found || err != nil {
		t.Errorf("an empty directory: %v %v", found, err)
	}
	a := filledIn(t)["microsoft app"]
	if err := Save(dir, &a); err != nil {
		t.Fatal(err)
	}
	if got, found, err := Load(dir); !found || err != nil || got != a {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"", "  ", "two words", id1} {
		if err := SaveSecret(dir, &a, bad); err == nil {
			t.Errorf("the secret %q is taken", bad)
		}
	}
	if HasSecret(dir, &a) {
		t.Error("a secret is there")
	}
	if err := SaveSecret(dir, &a, "s3cret\n"); err != nil || !HasSecret(dir, &a) {
		t.Errorf("the secret: %v", err)
	}
	if err := SaveConfig(dir, "mine", false); err != nil {
		t.Fatal(err)
	}
	if err := SaveConfig(dir, "other", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwritten: %v", err)
	}
	if text, err := Config(dir); text != "mine" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}
