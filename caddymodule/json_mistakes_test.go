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
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// goodJSON is a configuration without a mistake.
const goodJSON = `{"apps": {
	"events": {"subscriptions": [{"events": ["smtp_trouble"], "handlers": [{"handler": "smtp_notify", "mail_to": ["it@example.com"], "mail_accounts": ["a@example.com"]}]}]},
	"smtp_sandbox": {"smtp": "127.0.0.1:0"},
	"oauth_tokens": {"providers": {"p": {"kind": "generic", "token_url": "https://id.example.com/token", "client_id": "c", "client_secret": "s"}}},
	"smtp_upstreams": {"upstreams": {"u": {"dial": "smtp.example.com:587", "auth": {"mechanism": "xoauth2", "provider": "p"}}}},
	"smtp": {"hostname": "mail.example.com",
		"accounts": [{"source": "inline", "accounts": [{"name": "a@example.com", "upstream": "u"}]}],
		"servers": {"s": {"listen": ["127.0.0.1:2525"], "tls": {"mode": "off"}}}}
}}`

// jsonMistakes are values that somebody puts at a place of goodJSON; what is told
// names the field.
var jsonMistakes = []struct{ path, value, want string }{
	// Forms.
	{"smtp.drain_timeout", `"90"`, "drain_timeout: '90' is not a positive duration, as in 90s or 10m; a unit is missing"},
	{"smtp.drain_timeout", `true`, "drain_timeout: want a duration in quotes"},
	{"smtp.drain_timeout", `30`, "drain_timeout: 30 nanoseconds are too short"},
	{"smtp.servers.s.login_timeout", `"30"`, "servers.s.login_timeout: '30' is not"},
	{"smtp.servers.s.auth_failures", `{"window": "10 min"}`, "servers.s.auth_failures.window: '10 min' is not a positive duration, as in 90s or 10m; did you mean '10m'?"},
	{"smtp.servers.s.auth_failures", `{"ban": 900}`, "servers.s.auth_failures.ban: 900 nanoseconds"},
	{"smtp.servers.s.max_message_size", `"25MiB"`, "servers.s.max_message_size: want a whole number without quotes or unit"},
	{"smtp.servers.s.max_conns", `"10"`, "servers.s.max_conns: want a whole number"},
	{"smtp.servers.s.strict", `"on"`, "servers.s.strict: want true or false"},
	{"smtp.servers.s.listen", `":587"`, "servers.s.listen: want a list"},
	{"smtp.servers.s.tls", `"off"`, "servers.s.tls: want an object"},
	{"smtp.servers.s.tls", `{"mod": "off"}`, "servers.s.tls.mod: unknown field; did you mean 'mode'?"},
	{"smtp.servers.s.trust", `{"networks": ["192.0.2.7"]}`, "servers.s.trust: want a list"},
	{"smtp.servers.s.trust", `[{"networks": "192.0.2.7"}]`, "servers.s.trust[0].networks: want a list"},
	{"smtp.server", `{}`, "server: unknown field; did you mean 'servers'?"},
	{"smtp.accounts.0.accounts", `[{"name": "a", "upstream": "u", "limits": {"rate": "30"}}]`, `accounts[0].limits.rate: malformed rate "30"`},
	{"smtp.accounts.0.accounts", `[{"name": "a", "upstream": "u", "limits": {"rate": 30}}]`, "accounts[0].limits.rate: want a text in quotes"},
	{"smtp.accounts.0.accounts", `[{"name": "a", "upstream": "u", "senders": "a@example.com"}]`, "accounts[0].senders: want a list"},
	{"smtp.accounts.0.accounts", `{"a": {}}`, "accounts: want a list"},
	{"smtp.accounts.0", `{"source": "ldap", "servers": ["ldaps://x"], "timeout": "5"}`, "timeout: '5' is not a positive duration"},
	{"smtp.accounts.0", `{"source": "sql", "table": "t", "poll": "2"}`, "poll: '2' is not a positive duration"},
	{"smtp.accounts.0", `{"source": "file", "pfad": "x"}`, "pfad: unknown field"},
	{"smtp_upstreams.upstreams.u.idle_timeout", `"55"`, "idle_timeout: '55' is not"},
	{"smtp_upstreams.upstreams.u.max_conns_per_account", `"3"`, "max_conns_per_account: want a whole number"},
	{"smtp_upstreams.upstreams.u.rate_per_account", `30`, "rate_per_account: want a text in quotes"},
	{"smtp_upstreams.upstreams.u.rate_per_account", `"30"`, `rate_per_account: malformed rate "30"`},
	{"smtp_upstreams.upstreams.u.auth", `"plain"`, "auth: want an object"},
	{"smtp_upstreams.upstreams.u", `{"transport": "graph", "timeout": "5"}`, "timeout: "},
	{"smtp_upstreams.spool", `{"give_up_after": "5"}`, "give_up_after: '5' is not"},
	{"smtp_upstreams.limits", `{"kind": "postgres", "lease": "30"}`, "lease: '30' is not"},
	{"smtp_upstreams.upstream", `{}`, "upstream: unknown field; did you mean 'upstreams'?"},
	{"oauth_tokens.refresh_ahead", `"10"`, "refresh_ahead: '10' is not"},
	{"oauth_tokens.providers.p.timeout", `"5"`, "providers.p.timeout: '5' is not"},
	{"oauth_tokens.providers.p.scopes", `"mail"`, "providers.p.scopes: want a list"},
	{"oauth_tokens.providers.p.max_per_second", `"5"`, "providers.p.max_per_second: want a number"},
	{"oauth_tokens.providers.p.client_secret", `["s3cret"]`, "providers.p.client_secret: want a text in quotes"},
	{"oauth_tokens.providers.p.clientid", `"x"`, "providers.p.clientid: unknown field; did you mean 'client_id'?"},
	{"oauth_tokens.providers", `[]`, "providers: want an object"},
	{"smtp_sandbox.rtt", `"5"`, "rtt: '5' is not"},
	{"smtp_sandbox.faults", `{"stage": "mail"}`, "faults: want a list"},
	{"events.subscriptions.0.handlers.0.window", `"1"`, "window: '1' is not"},
	{"events.subscriptions.0.handlers.0.mail_to", `"it@example.com"`, "mail_to: want a list"},
	{"events.subscriptions.0.handlers.0.webhok", `"x"`, "webhok: unknown field; did you mean 'webhook'?"},

	// Texts.
	{"smtp.hostname", `"mail example.com"`, "hostname: 'mail example.com' is not a host's name"},
	{"smtp.hostname", `"https://mail.example.com"`, "hostname: 'https://mail.example.com' is not"},
	{"smtp.hostname", `"mail.example.com:587"`, "hostname: "},
	{"smtp.hostname", `"mail\r\n250 x"`, `hostname: 'mail\r\n250 x' is not`},
	{"smtp.hostname", `"{env.HOST}"`, "hostname: '{env.HOST}' is not"},
	{"smtp.servers.s.trust", `[{"networks": ["192.0.2.7"], "account": "a@example.com\n"}]`, "trust: account: it holds a line end"},
	{"smtp_upstreams.upstreams.u.tls", `{"server_name": "smtp example.com"}`, "tls.server_name: malformed name"},
	{"oauth_tokens.providers.p.client_id", `"c\n"`, "client_id: it holds a line end"},
	{"oauth_tokens.providers.p.client_id", `" c"`, "client_id: it begins or ends with a blank"},
	{"oauth_tokens.providers.p.client_secret", `"s3cret "`, "client_secret: it begins or ends with a blank"},
	{"oauth_tokens.providers.p.scopes", `["mail", ""]`, "scopes[1]: it is empty"},
	{"oauth_tokens.providers.p.scopes", `["mail\n"]`, "scopes[0]: it holds a line end"},
	{"oauth_tokens.providers.p.token_url", `"https://id.example.com/token#x"`, "token_url: what stands behind the #"},
	{"oauth_tokens.providers.p.service_account_file", `"/etc/key.json"`, "service_account and service_account_file need grant 'service_account', not 'refresh_token'"},
	{"smtp_sandbox.smtp", `"2587"`, "smtp: '2587' is a port without its colon"},
	{"smtp_sandbox.smtp", `"127.0.0.1"`, "smtp: '127.0.0.1' lacks its port"},
	{"smtp_sandbox.smtps", `"127.0.0.1:99999"`, "smtps: '127.0.0.1:99999' is not an address"},
	{"smtp_sandbox.http", `"http://127.0.0.1:2580"`, "http: 'http://127.0.0.1:2580' is a URL"},
	{"smtp_sandbox.mailboxes", `{"a@example.com": ""}`, "mailboxes 'a@example.com': a mailbox and its refresh token are wanted"},
	{"smtp_sandbox.mailboxes", `{"a@example.com ": "t"}`, "mailboxes 'a@example.com ': it begins or ends with a blank"},
	{"events.subscriptions.0.handlers.0.mail_to", `["IT <it@example.com>"]`, "mail_to: 'IT <it@example.com>' is not a mail address alone; did you mean 'it@example.com'?"},
	{"events.subscriptions.0.handlers.0.mail_to", `[""]`, "mail_to: '' is not a mail address"},
	{"events.subscriptions.0.handlers.0.mail_from", `"a@example.com\r\nBcc: b@example.com"`, `mail_from: 'a@example.com\r\nBcc: b@example.com' is not`},
	{"events.subscriptions.0.handlers.0.mail_accounts", `[""]`, "mail_accounts: a name is empty"},
	{"events.subscriptions.0.handlers.0.format", `"Slack"`, "format: unrecognized value 'Slack', want json, slack or teams; did you mean 'slack'?"},
	{"smtp.accounts.0", `{"source": "ldap", "servers": ["{env.NO_SUCH}"]}`, "field 'servers': evaluated placeholder {env.NO_SUCH} is empty"},
	{"smtp.accounts.0", `{"source": "ldap", "servers": ["ldaps://x"], "base": "dc=x\n"}`, "field 'base': it holds a line end"},
	{"smtp.accounts.0", `{"source": "ldap", "servers": ["ldaps://x"], "base": "dc=x", "upstream": " u"}`, "field 'upstream': it begins or ends with a blank"},
	{"smtp.accounts.0", `{"source": "ldap", "servers": ["ldaps://x"], "bind_dn": "cn=x", "bind_password": "{hunter2}"}`, "field 'bind_password': unrecognized placeholder: a variable is {env.NAME}"},
	{"smtp.accounts.0", `{"source": "sql", "table": "mail\n"}`, "field 'table': it holds a line end"},
}

// TestJSONMistakes holds that each mistake is refused with its field and what is
// wanted there, and that no secret is repeated.
func TestJSONMistakes(t *testing.T) {
	if _, err := provision(t, goodJSON); err != nil {
		t.Fatalf("without a mistake: %v", err)
	}
	for _, m := range jsonMistakes {
		_, err := provision(t, put(t, goodJSON, "apps."+m.path, m.value))
		switch {
		case err == nil || !strings.Contains(err.Error(), m.want):
			t.Errorf("%s = %s:\n got %v\nwant %s", m.path, m.value, err, m.want)
		case strings.Contains(err.Error(), "s3cret"), strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: a secret is repeated: %v", m.path, err)
		}
	}
}

// put replaces a value of a JSON text.
func put(t *testing.T, text, path, value string) string {
	t.Helper()
	var root, v any
	for from, into := range map[string]any{text: &root, value: &v} {
		if err := json.Unmarshal([]byte(from), into); err != nil {
			t.Fatalf("%s: %v", from, err)
		}
	}
	names := strings.Split(path, ".")
	at := root
	for _, name := range names[:len(names)-1] {
		switch here := at.(type) {
		case map[string]any:
			at = here[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil {
				t.Fatal(err)
			}
			at = here[i]
		}
	}
	switch last := names[len(names)-1]; here := at.(type) {
	case map[string]any:
		here[last] = v
	case []any:
		here[0] = v
	default:
		t.Fatalf("%s: there is nothing to put %s into", path, last)
	}
	b, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
