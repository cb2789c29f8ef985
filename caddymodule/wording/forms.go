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

// Package wording has the words for mistakes in a Caddyfile: the form of each
// option that is more than a name with a value, what options and values are
// called elsewhere, and what a word too many tells. It reads no Caddyfile and
// keeps no state.
package wording

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
)

// forms are the options whose form is more than a name with one value, by block
// and name, or by name alone where they are the same in every block. A form is
// right as it stands; TestForms of caddymodule holds each to that.
var forms = map[string]string{
	"smtp server":   "server submission :587",
	"smtp accounts": "accounts {\naccount scanner@example.com {\nupstream NAME\n}\n}",
	"smtp messages": "messages {\nkeep 30d\n}",
	"smtp tracing":  "tracing {\nspan NAME\n}",

	"server tls":               "tls starttls",
	"server auth_failures":     "auth_failures 5 per 10m ban 15m",
	"server trust":             "trust 192.0.2.7 {\naccount scanner@example.com\n}",
	"server spool":             "spool always",
	"server plaintext_auth":    "plaintext_auth 192.0.2.0/24",
	"server lf_only":           "lf_only 192.0.2.0/24",
	"server proxy_protocol":    "proxy_protocol 192.0.2.0/24",
	"server listener_wrappers": "listener_wrappers {\ntls\n}",

	"accounts account":      "account scanner@example.com {\nupstream NAME\n}",
	"accounts file":         "file /etc/mailgateway/accounts.jsonl",
	"accounts dynamic":      "dynamic",
	"account limits":        "limits {\nrate 30/1m\n}",
	"account spool":         "spool always",
	"account senders":       "senders *@example.com scanner@example.com",
	"account label":         "label room 12",
	"account password_hash": "password_hash {file./etc/mailgateway/scanner.hash}",

	"oauth_tokens provider":       "provider workspace google",
	"oauth_tokens store":          "store storage",
	"provider client_certificate": "client_certificate app.pem app.key",
	"provider scopes":             "scopes https://outlook.office.com/SMTP.Send offline_access",
	"encryption_key":              "encryption_key {env.NAME}",

	"smtp_upstreams upstream": "upstream office microsoft365",
	"smtp_upstreams limits":   "limits postgres postgres://gateway@db.example.com/mail",
	"smtp_upstreams spool":    "spool",
	"upstream tls":            "tls starttls",
	"upstream auth":           "auth xoauth2 PROVIDER",
	"upstream transport":      "transport graph PROVIDER",
	"upstream transports":     "transports first second",
	"tls client_certificate":  "client_certificate client.pem client.key",

	"accounts sql column":     "column mailbox address",
	"accounts ldap attribute": "attribute mailbox mail",

	"smtp_sandbox client":        "client ID SECRET",
	"smtp_sandbox mailbox":       "mailbox scanner@example.com REFRESH_TOKEN",
	"smtp_sandbox assertion_key": "assertion_key ID app.pem",
	"smtp_sandbox fault":         "fault rcpt reply {\nreply \"450 4.2.1 Try again\"\n}",
	"smtp_notify webhook":        "webhook https://hooks.example.com/x teams",

	"trust_pool":    "trust_pool file /etc/mailgateway/ca.pem",
	"network_proxy": "network_proxy url http://proxy.example.com:3128",
}

// Form is the form of an option, "" where it is not known.
func Form(what, name string) string {
	if f := forms[what+" "+name]; f != "" {
		return f
	}
	return forms[name]
}

// With is an error with the form of its option, unless it shows what is
// right already. example is a value of an option that has no form of its own.
func With(what, name, example string, err error) error {
	own, text := Form(what, name), err.Error()
	f := own
	if own == "" && example != "" {
		f = name + " " + example
	}
	if f == "" || strings.Contains(text, "'"+f) || own == "" && (strings.Contains(text, "as in ") || strings.Contains(text, "did you mean ")) {
		return err
	}
	lines := strings.Split(f, "\n")
	if len(lines) == 1 {
		return fmt.Errorf("%w; the form is '%s'", err, f)
	}
	return fmt.Errorf("%w; the form is '%s', each on a line of its own", err, strings.Join(lines, "' '"))
}

// All are the forms, by block and name or by name, in order of these.
func All() (names, all []string) {
	names = slices.Sorted(maps.Keys(forms))
	for _, name := range names {
		all = append(all, forms[name])
	}
	return names, all
}

// ExtraWordError is the error for a word too many.
type ExtraWordError struct{ Word, Hint string }

// Error implements error.
func (e *ExtraWordError) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("unexpected argument '%s'", e.Word)
	}
	return fmt.Sprintf("unexpected argument '%s'; %s", e.Word, e.Hint)
}

// Unexpected is the error for a word too many, with what it tells by itself.
func Unexpected(arg string) error { return &ExtraWordError{arg, meantArg(arg)} }

func meantArg(arg string) string {
	if hint := form.Mistyped(arg); hint != "" {
		return hint
	}
	switch strings.ToLower(strings.TrimRight(arg, ";,")) {
	case "=", ":":
		return "between an option and its value stands a blank, and nothing else"
	case "credentials":
		return "did you mean 'client_credentials'?"
	case "per", "/":
		return "a rate is COUNT/PERIOD, as in 30/1m"
	}
	if strings.HasSuffix(arg, "{") {
		return "a blank is missing before the {"
	}
	if _, err := accounts.ParseRate(arg); err == nil {
		return "a rate stands on a line of its own in the block, as in 'rate " + arg + "'"
	}
	return ""
}
