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

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	password       = "made-up-password-1"
	relayUser      = "relay@provider.test"
	sandboxSecret  = "made-up-sandbox-secret"
	mailPassword   = "made-up-mailbox-password"
	refreshTokenOf = "made-up-rt-%s"
)

// gateway is the binary with the sandbox in it.
type gateway struct {
	*process
	pki                            pki
	starttls, implicit, plain      string // the servers' addresses
	admin                          string
	sandboxSMTP, sandboxHTTP, conf string
	sandbox                        *sandboxClient
}

// gatewayOptions are what tests change of the configuration.
type gatewayOptions struct {
	// upstream are lines for the upstream block `provider`; {pki.ca} is the
	// authority of the gateway's certificate, {sandbox.smtp} and
	// {sandbox.http} are addresses. Default: the sandbox with STARTTLS and
	// XOAUTH2.
	upstream string
	// server are lines for each server block.
	server string
	// sandbox are lines for the sandbox's block.
	sandbox string
	// oauth are lines for the provider block.
	oauth string
	// accounts are further account blocks.
	accounts string
	// smtp are lines for the smtp block.
	smtp string
}

// startGateway runs a gateway with an account for each of the names; its
// mailbox is the name at provider.test, so that nothing passes by taking one
// for the other.
func startGateway(t *testing.T, o gatewayOptions, names ...string) *gateway {
	t.Helper()
	dir := t.TempDir()
	addrs := freeAddrs(t, 7)
	g := &gateway{
		pki:      newPKI(t, dir),
		starttls: addrs[0], implicit: addrs[1], plain: addrs[2],
		sandboxSMTP: addrs[3], sandboxHTTP: addrs[5],
		admin: addrs[6],
		conf:  filepath.Join(dir, "Caddyfile"),
	}
	g.sandbox = &sandboxClient{t: t, base: "http://" + g.sandboxHTTP}
	if o.upstream == "" {
		o.upstream = "dial " + g.sandboxSMTP + `
			tls starttls {
				trust_pool pki_root local
				server_name localhost
			}
			auth xoauth2 sandbox`
	}
	if o.oauth == "" {
		o.oauth = "token_url http://" + g.sandboxHTTP + "/token\n"
	}
	places := strings.NewReplacer("{pki.ca}", g.pki.caFile, "{sandbox.smtp}", g.sandboxSMTP, "{sandbox.http}", g.sandboxHTTP)
	var accounts strings.Builder
	hash := "sha256:" + sha256hex([]byte(password))
	mailboxes := ""
	for _, name := range names {
		fmt.Fprintf(&accounts, `
			account %s {
				mailbox %s
				password_hash %s
				refresh_token %s
				upstream provider
			}`, name, mailboxOf(name), hash, fmt.Sprintf(refreshTokenOf, name))
		mailboxes += fmt.Sprintf("\n\t\tmailbox %s %s", mailboxOf(name), fmt.Sprintf(refreshTokenOf, name))
	}
	config := fmt.Sprintf(`{
	admin %s
	skip_install_trust
	storage file_system %s
	smtp_sandbox {
		smtp %s
		smtps %s
		http %s
		client sandbox %s
		password %s
		keep_bodies
		use_pki
		%s
	}
	oauth_tokens {
		provider sandbox generic {
			client_id sandbox
			client_secret %s
			%s
		}
	}
	smtp_upstreams {
		upstream provider {
			%s
		}
	}
	smtp {
		hostname localhost
		%s
		accounts {%s
		}
		server submission %s {
			tls starttls %s %s
			%s
		}
		server submissions %s {
			tls implicit %s %s
			%s
		}
		server plain %s {
			tls off
			%s
		}
	}
}
`, g.admin, filepath.Join(dir, "storage"), addrs[3], addrs[4], addrs[5], sandboxSecret, mailPassword, o.sandbox+mailboxes,
		sandboxSecret, places.Replace(o.oauth), places.Replace(o.upstream), o.smtp, accounts.String()+o.accounts,
		g.starttls, g.pki.certFile, g.pki.keyFile, o.server,
		g.implicit, g.pki.certFile, g.pki.keyFile, o.server,
		g.plain, o.server)
	if err := os.WriteFile(g.conf, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(gatewayBinary, "run", "--adapter", "caddyfile", "--config", g.conf)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	g.process = start(t, cmd)
	t.Cleanup(func() {
		g.stop()
		if g.err != nil {
			t.Errorf("the gateway's exit: %v, want status 0", g.err)
		}
		g.checkSecrets(names)
	})
	g.waitOutput("serving initial configuration")
	g.waitListening(g.starttls)
	g.waitListening(g.implicit)
	g.waitListening(g.plain)
	g.waitListening(g.sandboxHTTP)
	return g
}

func mailboxOf(name string) string {
	local, _, _ := strings.Cut(name, "@")
	return local + "@provider.test"
}

// checkSecrets looks for secrets in what the gateway wrote. Caddy's warning
// about literal secrets names options, never values.
func (g *gateway) checkSecrets(names []string) {
	g.t.Helper()
	out := g.out.String()
	secrets := []string{password, sandboxSecret, mailPassword}
	for _, n := range names {
		secrets = append(secrets, fmt.Sprintf(refreshTokenOf, n))
	}
	for _, s := range secrets {
		if strings.Contains(out, s) {
			g.t.Errorf("the secret %q is in the gateway's log", s)
		}
	}
}
