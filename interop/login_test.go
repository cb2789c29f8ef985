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
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// login runs `smtp login` until it asks for something, lets the person answer
// it, and returns what the command said and how it ended.
func (g *gateway) login(t *testing.T, ask *regexp.Regexp, answer func(match []string), args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(gatewayBinary, append([]string{"smtp", "login", "--address", g.admin}, args...)...)
	stdin, err := cmd.StdinPipe() // it waits for an address to be pasted
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	p := start(t, cmd)
	p.waitOutputFunc("the question", func(s string) bool { return ask.MatchString(s) })
	answer(ask.FindStringSubmatch(p.out.String()))
	<-p.done
	return p.out.String(), p.err
}

// TestOIDCLogin is the whole way of a mailbox: consent by `smtp login` at
// oidc-provider, in a browser and by device code, and then mail through
// Dovecot, which asks oidc-provider about the token.
func TestOIDCLogin(t *testing.T) {
	need(t, "node", "dovecot", python)
	const browser, device, other = "browser@provider.test", "device@provider.test", "other@provider.test"
	const from, to = "someone@else.example", "one@example.net"

	client := oidcClient("sandbox")
	client["client_secret"] = sandboxSecret
	s := startOIDC(t, client, object{
		"client_id": "dovecot", "client_secret": oidcSecret, "token_endpoint_auth_method": "client_secret_basic",
		"grant_types": []string{}, "response_types": []string{}, "redirect_uris": []string{},
	})
	addrs := freeAddrs(t, 2)
	account := ""
	for _, name := range []string{browser, device, other} {
		account += fmt.Sprintf(`
			account %s {
				password_hash sha256:%s
				upstream provider
			}`, name, sha256hex([]byte(password)))
	}
	g := startGateway(t, gatewayOptions{
		oauth: "issuer " + s.issuer + "\n\t\t\tscopes openid email offline_access smtp\n",
		upstream: fmt.Sprintf(`dial localhost:%s
			tls starttls {
				trust_pool file {pki.ca}
			}
			auth xoauth2 sandbox`, port(addrs[0])),
		accounts: account,
	})
	startDovecot(t, g, addrs[0], addrs[1], strings.Replace(s.issuer, "://", "://dovecot:"+oidcSecret+"@", 1)+"/token/introspection", "sub")

	p, err := strconv.Atoi(port(g.starttls))
	if err != nil {
		t.Fatal(err)
	}
	send := func(user string) smtplibAnswer {
		t.Helper()
		return runSMTPLib(t, smtplibJob{
			CAFile: g.pki.caFile, Port: p, TLS: "starttls", User: user, Password: password, Mechanism: "PLAIN", InitialResponse: true,
			Messages: []smtplibMessage{{From: from, To: []string{to}, Data: message("login", from, to, []byte(user+"\r\n"))}},
		})[0]
	}
	received := func() int { return len(g.sandbox.messages(relayUser)) }

	if a := send(browser); !strings.Contains(string(a.Error), "454") || !strings.Contains(string(a.Error), "consent") {
		t.Errorf("before consent: %s, want 454 that names it", a.Error)
	}

	// In a browser. It comes back to a port of the gateway's machine.
	openAddress := regexp.MustCompile(`(?m)^(http://\S+)$`)
	comeBack := func(mailbox string) func([]string) {
		return func(m []string) {
			away := browse(t, m[1], mailbox)
			if away == nil {
				t.Fatal("the authorization server did not send the browser back")
			}
			res, err := http.Get(away.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
	}
	if out, err := g.login(t, openAddress, comeBack(browser), browser); err != nil {
		t.Fatalf("login in a browser: %v\n%s", err, out)
	}
	// The pool remembers a failed login for some seconds; clients try again.
	a := send(browser)
	for deadline := time.Now().Add(patience); a.Error != nil && time.Now().Before(deadline); a = send(browser) {
		time.Sleep(200 * time.Millisecond)
	}
	if a.Error != nil || received() != 1 {
		t.Errorf("after consent in a browser: %s, %d messages at the provider, want 1", a.Error, received())
	}

	// On another device, by a code.
	typeCode := regexp.MustCompile(`Open (\S+) and type the code (\S+) as`)
	out, err := g.login(t, typeCode, func(m []string) {
		browse(t, m[1]+"?user_code="+m[2], device)
	}, "--device", device)
	if err != nil {
		t.Fatalf("login by a device code: %v\n%s", err, out)
	}
	if a := send(device); a.Error != nil || received() != 2 {
		t.Errorf("after consent on a device: %s, %d messages at the provider, want 2", a.Error, received())
	}

	// Somebody else's consent is not the mailbox's.
	if out, err := g.login(t, openAddress, comeBack("stranger@provider.test"), other); err == nil {
		t.Errorf("the consent of another identity was taken:\n%s", out)
	}
	if a := send(other); a.Error == nil || received() != 2 {
		t.Errorf("after the consent of another identity: %s, %d messages at the provider, want an error and 2", a.Error, received())
	}
}
