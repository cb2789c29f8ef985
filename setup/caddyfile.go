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
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/caddymail/mailgateway/upstreampool/preset"
)

// The files that setup makes in its directory.
const (
	ConfigName = "Caddyfile"
	dataName   = "data"
)

// The pages of the written configuration. Entra and Google take http for
// localhost, by this name.
const (
	ConsoleURL = "http://localhost:8025"
	connectURL = ConsoleURL + "/connect"
)

// credentials is the directory of secrets.
func credentials(dir string) string { return filepath.Join(dir, "credentials") }

// SecretFile is where the client secret is kept: each provider's in its own, so that
// another one takes nothing from the first.
func SecretFile(dir string, a *Answers) string {
	return filepath.Join(credentials(dir), a.OAuth()+"_secret")
}

// KeyFile is where a service account's key is kept that was not in a file yet.
func KeyFile(dir string, a *Answers) string {
	return filepath.Join(credentials(dir), a.OAuth()+"_key.json")
}

// quotePath makes a path one word of a Caddyfile.
func quotePath(p string) string { return "`" + p + "`" }

// lines writes a Caddyfile.
type lines struct{ strings.Builder }

func (b *lines) line(depth int, format string, args ...any) {
	b.WriteString(strings.Repeat("\t", depth))
	fmt.Fprintf(b, format+"\n", args...)
}

// Caddyfile is the configuration that the answers make. dir is absolute; hash is
// that of the password that the first device logs in with.
func Caddyfile(a *Answers, dir, hash string) string {
	var b lines
	line := b.line
	line(0, "# Made by `smtp setup`; yours from here on. Every option: docs/configuration.md.")
	line(0, "{")
	b.storage(dir)
	line(0, "")
	a.writeProvider(&b, dir)
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
	a.writeServers(line, localPort)
	line(1, "}")
	line(0, "}")
	b.site(dir, ConsoleURL)
	return b.String()
}

// Start is a configuration that has the console alone: what is missing is asked for
// there. console is its address, http and of this machine.
func Start(dir, console string) string {
	var b lines
	b.line(0, "# Made by `smtp setup`; yours from here on. Every option: docs/configuration.md.")
	b.line(0, "{")
	b.storage(dir)
	b.line(0, "}")
	b.site(dir, console)
	return b.String()
}

func (b *lines) storage(dir string) {
	b.line(1, "# Certificates, and the tokens of mailboxes: keep it, and nobody else's eyes off it.")
	b.line(1, "storage file_system %s", quotePath(filepath.Join(dir, dataName)))
}

// site is the console's and the owners', for this machine alone.
func (b *lines) site(dir, console string) {
	b.line(0, "")
	b.line(0, "# The pages for this machine's own browser; for others: docs/console.md.")
	b.line(0, "%s {", console)
	b.line(1, "bind 127.0.0.1")
	b.line(1, "smtp_connect {")
	b.line(2, "url %s/connect", console)
	b.line(1, "}")
	b.line(1, "smtp_console {")
	b.line(2, "url %s", console)
	b.line(2, "setup %s", quotePath(filepath.Join(dir, ConfigName)))
	b.line(1, "}")
	b.line(0, "}")
}

// Have is what a configuration has already of what the answers need.
type Have struct {
	// Servers are those that devices log in at, Accounts those that can be added
	// while the gateway runs.
	Servers, Accounts bool
}

// Additions are the answers' part of a configuration that has others: blocks of its
// global options, which are combined with blocks of the same name. port is that of a
// server for this machine alone.
func Additions(a *Answers, dir string, have Have, port int) string {
	var b lines
	a.writeProvider(&b, dir)
	if have.Servers && have.Accounts {
		return b.String()
	}
	b.line(1, "smtp {")
	if !have.Servers && a.Hostname != "" {
		b.line(2, "hostname %s", a.Hostname)
	}
	if !have.Accounts {
		b.line(2, "accounts {")
		b.line(3, "dynamic")
		b.line(2, "}")
	}
	if !have.Servers {
		a.writeServers(b.line, port)
	}
	b.line(1, "}")
	return b.String()
}

func (a *Answers) writeProvider(b *lines, dir string) {
	b.line(1, "oauth_tokens {")
	a.writeOAuth(b.line, dir)
	b.line(1, "}")
	b.line(1, "smtp_upstreams {")
	a.writeUpstream(b.line)
	b.line(1, "}")
}

// localPort is that of a server for this machine alone; LocalPort takes one of the
// next if another program has it.
const localPort = 2525

// LocalPort is a port of this machine that can be had.
func LocalPort() int {
	for port := localPort; port < localPort+100; port++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	return localPort
}

func (a *Answers) writeServers(line func(int, string, ...any), port int) {
	if a.local() {
		line(2, "server local 127.0.0.1:%d {", port)
		line(3, "tls off")
		line(2, "}")
		return
	}
	line(2, "server submission :587")
	line(2, "server submissions :465 {")
	line(3, "tls implicit")
	line(2, "}")
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
	delete(apps, "http")
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
	secret := "{file." + SecretFile(dir, a) + "}"
	switch a.Provider {
	case Microsoft:
		line(2, "provider %s {", a.named(a.OAuth(), "microsoft"))
		line(3, "tenant %s", a.tenant())
		if a.Way == App {
			line(3, "grant client_credentials")
		}
		line(3, "client_id %s", a.ClientID)
		line(3, "client_secret %s", quotePath(secret))
		a.writeEndpoints(line)
	case Google:
		line(2, "provider %s {", a.named(a.OAuth(), "google"))
		if a.Way == App {
			line(3, "grant service_account")
			line(3, "service_account_file %s", quotePath(a.KeyFile))
		} else {
			line(3, "client_id %s", a.ClientID)
			line(3, "client_secret %s", quotePath(secret))
		}
		a.writeEndpoints(line)
	default:
		line(2, "provider %s generic {", a.OAuth())
		line(3, "client_id %s", a.ClientID)
		line(3, "client_secret %s", quotePath(secret))
		a.writeEndpoints(line)
	}
	line(2, "}")
}

// writeEndpoints writes what is not the provider's own.
func (a *Answers) writeEndpoints(line func(int, string, ...any)) {
	for _, s := range [][2]string{{"token_url", a.TokenURL}, {"auth_url", a.AuthURL}, {"scopes", a.scopes()}} {
		if s[1] != "" {
			line(3, "%s %s", s[0], s[1])
		}
	}
	if a.CAFile != "" && strings.HasPrefix(a.TokenURL, "https:") {
		line(3, "trust_pool file %s", quotePath(a.CAFile))
	}
}

// named is a name in the configuration with its kind, where that is not the name.
func (a *Answers) named(name, kind string) string {
	if name == kind {
		return name
	}
	return name + " " + kind
}

func (a *Answers) writeUpstream(line func(int, string, ...any)) {
	if a.Graph() {
		a.writeGraph(line)
		return
	}
	p, known := preset.ByName(a.preset())
	if !known || a.Dial != "" || a.CAFile != "" {
		line(2, "upstream %s {", a.Upstream())
		line(3, "dial %s", a.Server())
		if mode := cmp.Or(a.TLS, p.TLS); a.CAFile == "" {
			line(3, "tls %s", mode)
		} else {
			line(3, "tls %s {", mode)
			line(4, "trust_pool file %s", quotePath(a.CAFile))
			line(3, "}")
		}
	} else if a.Number < 2 {
		line(2, "upstream %s", a.Upstream())
		return
	} else {
		line(2, "upstream %s {", a.named(a.Upstream(), a.preset()))
	}
	line(3, "auth xoauth2 %s", a.OAuth())
	line(2, "}")
}

func (a *Answers) writeGraph(line func(int, string, ...any)) {
	line(2, "upstream %s {", a.Upstream())
	var options []string
	switch a.Way {
	case App:
		options = append(options, "app_only")
	case Personal:
		// Graph finds no personal account by its address.
		options = append(options, "user me", "scopes "+a.scopes())
	}
	if a.GraphURL != "" {
		options = append(options, "endpoint "+a.API())
	}
	if a.CAFile != "" && strings.HasPrefix(a.API(), "https:") {
		options = append(options, "trust_pool file "+quotePath(a.CAFile))
	}
	if len(options) == 0 {
		line(3, "transport graph %s", a.OAuth())
	} else {
		line(3, "transport graph %s {", a.OAuth())
		for _, o := range options {
			line(4, "%s", o)
		}
		line(3, "}")
	}
	line(2, "}")
}
