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

package setup

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// The files that setup makes in its directory.
const (
	ConfigName = "Caddyfile"
	SecretName = "client_secret"
	dataName   = "data"
)

// credentials is the directory of secrets.
func credentials(dir string) string { return filepath.Join(dir, "credentials") }

// SecretFile is where the client secret is kept.
func SecretFile(dir string) string { return filepath.Join(credentials(dir), SecretName) }

// quotePath makes a path one word of a Caddyfile.
func quotePath(p string) string { return "`" + p + "`" }

// Caddyfile is the configuration that the answers make. dir is absolute; hash is
// that of the password that the first device logs in with.
func Caddyfile(a *Answers, dir, hash string) string {
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		b.WriteString(strings.Repeat("\t", depth))
		fmt.Fprintf(&b, format+"\n", args...)
	}
	line(0, "# Made by `smtp setup`; yours from here on. Every option: docs/configuration.md.")
	line(0, "{")
	line(1, "# Certificates, and the tokens of mailboxes: keep it, and nobody else's eyes off it.")
	line(1, "storage file_system %s", quotePath(filepath.Join(dir, dataName)))
	line(0, "")
	line(1, "oauth_tokens {")
	a.writeOAuth(line, dir)
	line(1, "}")
	line(1, "smtp_upstreams {")
	a.writeUpstream(line)
	line(1, "}")
	line(1, "smtp {")
	if a.Hostname != "" {
		line(2, "hostname %s", a.Hostname)
	}
	line(2, "accounts {")
	line(3, "# The devices log in with this name, and with the password that setup showed.")
	line(3, "account %s {", a.Mailbox)
	line(4, "password_hash %s", hash)
	line(4, "upstream %s", a.Upstream())
	line(4, "senders %s", a.Mailbox)
	line(3, "}")
	line(3, "# Further ones: `smtp account add`.")
	line(3, "dynamic")
	line(2, "}")
	if a.local() {
		line(2, "server local 127.0.0.1:2525 {")
		line(3, "tls off")
		line(2, "}")
	} else {
		line(2, "server submission :587")
		line(2, "server submissions :465 {")
		line(3, "tls implicit")
		line(2, "}")
	}
	line(1, "}")
	line(0, "}")
	return b.String()
}

// Device is what is set in the first device.
func Device(a *Answers) string {
	if a.local() {
		return "server 127.0.0.1, port 2525, no encryption (programs of this machine alone), user and From " + a.Mailbox
	}
	name := a.Hostname
	if name == "" {
		name = "this machine's name"
	}
	return "server " + name + ", port 587 with STARTTLS or port 465 with SSL/TLS, user and From " + a.Mailbox
}

// Trial is a configuration, adapted to JSON, without what would serve others: its
// admin API is on a socket, and what goes wrong is said by who tries it.
func Trial(adapted []byte, socket string) ([]byte, error) {
	var cfg map[string]any
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		return nil, err
	}
	apps, _ := cfg["apps"].(map[string]any)
	smtp, _ := apps["smtp"].(map[string]any)
	delete(smtp, "servers")
	cfg["admin"] = map[string]any{"listen": "unix/" + socket, "config": map[string]any{"persist": false}}
	// To standard error, as before, and nothing of it: a writer that changes is told there.
	cfg["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "stderr"}, "level": "FATAL"}}}
	return json.Marshal(cfg)
}

// PasswordHash finds the device's in a configuration that Caddyfile made.
func PasswordHash(caddyfile string) string {
	_, rest, _ := strings.Cut(caddyfile, "password_hash ")
	hash, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(hash)
}

func (a *Answers) writeOAuth(line func(int, string, ...any), dir string) {
	secret := "{file." + SecretFile(dir) + "}"
	switch a.Provider {
	case Microsoft:
		line(2, "provider microsoft {")
		line(3, "tenant %s", a.Tenant)
		if a.Way == App {
			line(3, "grant client_credentials")
		}
		line(3, "client_id %s", a.ClientID)
		line(3, "client_secret %s", quotePath(secret))
	case Google:
		line(2, "provider google {")
		if a.Way == App {
			line(3, "grant service_account")
			line(3, "service_account_file %s", quotePath(a.KeyFile))
			break
		}
		line(3, "client_id %s", a.ClientID)
		line(3, "client_secret %s", quotePath(secret))
	default:
		line(2, "provider %s generic {", a.OAuth())
		line(3, "token_url %s", a.TokenURL)
		line(3, "auth_url %s", a.AuthURL)
		line(3, "client_id %s", a.ClientID)
		line(3, "client_secret %s", quotePath(secret))
		if a.Scopes != "" {
			line(3, "scopes %s", a.Scopes)
		}
		if a.CAFile != "" && strings.HasPrefix(a.TokenURL, "https:") {
			line(3, "trust_pool file %s", quotePath(a.CAFile))
		}
	}
	line(2, "}")
}

func (a *Answers) writeUpstream(line func(int, string, ...any)) {
	if a.Provider != Other {
		line(2, "upstream %s", a.Upstream())
		return
	}
	line(2, "upstream %s {", a.Upstream())
	line(3, "dial %s", a.Dial)
	if a.CAFile == "" {
		line(3, "tls %s", a.TLS)
	} else {
		line(3, "tls %s {", a.TLS)
		line(4, "trust_pool file %s", quotePath(a.CAFile))
		line(3, "}")
	}
	line(3, "auth xoauth2 %s", a.OAuth())
	line(2, "}")
}
