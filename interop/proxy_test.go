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
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	proxyUser     = "proxy-user"
	proxyPassword = "made-up-proxy-password"
)

// startMicrosocks runs a SOCKS5 proxy that wants a password.
func startMicrosocks(t *testing.T) (p *process, url string) {
	t.Helper()
	bin := need(t, "microsocks")[0]
	addr := freeAddrs(t, 1)[0]
	p = start(t, exec.Command(bin, "-i", "127.0.0.1", "-p", port(addr), "-u", proxyUser, "-P", proxyPassword))
	p.waitListening(addr)
	return p, "socks5://" + proxyUser + ":" + proxyPassword + "@" + addr
}

// startTinyproxy runs an HTTP proxy that wants a password.
func startTinyproxy(t *testing.T) (p *process, url string) {
	t.Helper()
	bin := need(t, "tinyproxy")[0]
	addr := freeAddrs(t, 1)[0]
	conf := filepath.Join(t.TempDir(), "tinyproxy.conf")
	text := fmt.Sprintf("Port %s\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 600\nMaxClients 50\nLogLevel Connect\nBasicAuth %s %s\n", port(addr), proxyUser, proxyPassword)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p = start(t, exec.Command(bin, "-d", "-c", conf))
	p.waitListening(addr)
	return p, "http://" + proxyUser + ":" + proxyPassword + "@" + addr
}

// TestProxy sends through real proxies, tokens and mail alike, and holds that
// without its proxy the gateway sends nothing.
func TestProxy(t *testing.T) {
	for name, startProxy := range map[string]func(*testing.T) (*process, string){
		"microsocks": startMicrosocks, "tinyproxy": startTinyproxy,
	} {
		t.Run(name, func(t *testing.T) {
			proxy, url := startProxy(t)
			const user = "device@office.test"
			g := startGateway(t, gatewayOptions{
				oauth: "token_url http://{sandbox.http}/token\nnetwork_proxy url " + url,
				upstream: `dial {sandbox.smtp}
					tls starttls {
						trust_pool pki_root local
						server_name localhost
					}
					auth xoauth2 sandbox
					max_messages_per_conn 1
					network_proxy url ` + url,
			}, user)
			send := func(id string) error {
				return smtp.SendMail(g.plain, smtp.PlainAuth("", user, password, "127.0.0.1"), user,
					[]string{"someone@example.net"}, message(id, user, "someone@example.net", bodies["dots"]))
			}
			if err := send("through"); err != nil {
				t.Fatal(err)
			}
			got := g.sandbox.waitMessages(mailboxOf(user), 1)
			if want := sha256hex(message("through", user, "someone@example.net", bodies["dots"])); got[0].SHA256 != want {
				t.Errorf("%s delivered other bytes", name)
			}
			// The proxy says where it was asked to connect: both must be there.
			for what, addr := range map[string]string{"mail": g.sandboxSMTP, "tokens": g.sandboxHTTP} {
				if out := proxy.out.String(); !strings.Contains(out, addr) && !strings.Contains(out, port(addr)) {
					t.Errorf("%s did not go through %s:\n%s", what, name, out)
				}
			}
			before := g.sandbox.stats()
			proxy.stop()
			err := send("without")
			if err == nil || !strings.HasPrefix(err.Error(), "4") {
				t.Errorf("without the proxy: %v, want a temporary failure", err)
			}
			if after := g.sandbox.stats(); after.Messages != before.Messages || after.ConnsTotal != before.ConnsTotal {
				t.Errorf("without the proxy the provider saw %+v, before %+v", after, before)
			}
			if out := g.out.String(); strings.Contains(out, proxyPassword) {
				t.Error("the proxy's password is in the gateway's log")
			}
		})
	}
}
