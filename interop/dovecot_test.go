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
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

const dovecotConf = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
protocols = submission
listen = 127.0.0.1
hostname = dovecot.test
ssl = required
ssl_cert = <%[2]s
ssl_key = <%[3]s
disable_plaintext_auth = yes
auth_mechanisms = xoauth2 oauthbearer
first_valid_uid = 1
mail_location = maildir:%[1]s/mail/%%u
mail_max_userip_connections = 100
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}

passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = %[1]s/oauth2.conf.ext
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s/mail/%%u
}

service submission-login {
  inet_listener submission {
    port = %[4]s
  }
  inet_listener submissions {
    port = %[5]s
    ssl = yes
  }
}

submission_relay_host = 127.0.0.1
submission_relay_port = %[6]s
submission_relay_ssl = starttls
submission_relay_ssl_verify = no
submission_relay_user = %[7]s
submission_relay_password = %[8]s
`

const dovecotOAuth2Conf = `
introspection_mode = post
introspection_url = %s
force_introspection = yes
active_attribute = active
active_value = true
username_attribute = %s
`

// startDovecot runs an own Dovecot: a submission service that checks tokens
// with an authorization server, which names the mailbox in the given member of
// its answer, and relays to the sandbox.
func startDovecot(t *testing.T, g *gateway, starttls, implicit, introspection, member string) {
	t.Helper()
	dovecot := need(t, "dovecot")[0]
	if os.Getuid() != 0 {
		t.Fatal("Dovecot starts as root only")
	}
	dir := publicDir(t)
	for d, mode := range map[string]os.FileMode{"run": 0o755, "state": 0o755, "mail": 0o777} {
		if err := os.Mkdir(filepath.Join(dir, d), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, d), mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"dovecot.conf": fmt.Sprintf(dovecotConf, dir, g.pki.certFile, g.pki.keyFile, port(starttls), port(implicit),
			port(g.sandboxSMTP), relayUser, mailPassword),
		"oauth2.conf.ext": fmt.Sprintf(dovecotOAuth2Conf, introspection, member),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, exec.Command(dovecot, "-F", "-c", filepath.Join(dir, "dovecot.conf")))
	// Dovecot gives sessions half a minute: the gateway is to end first.
	t.Cleanup(g.stop)
	p.waitListening(starttls)
	p.waitListening(implicit)
}

// TestDovecot has Dovecot's submission service as the provider.
func TestDovecot(t *testing.T) {
	need(t, "dovecot", python)
	for _, c := range []struct{ tls, mechanism string }{
		{"starttls", "xoauth2"}, {"implicit", "xoauth2"}, {"starttls", "oauthbearer"},
	} {
		t.Run(c.tls+"/"+c.mechanism, func(t *testing.T) { testDovecot(t, c.tls, c.mechanism) })
	}
}

func testDovecot(t *testing.T, tlsMode, mechanism string) {
	const user, from, to = "dovecot@example.com", "someone@else.example", "one@example.net"
	const stranger = "stranger@example.com"
	addrs := freeAddrs(t, 2)
	dial := addrs[0]
	if tlsMode == "implicit" {
		dial = addrs[1]
	}
	g := startGateway(t, gatewayOptions{
		// The authority of this test stands for one of an own provider.
		upstream: fmt.Sprintf(`dial localhost:%s
			tls %s {
				trust_pool file {pki.ca}
			}
			auth %s sandbox`, port(dial), tlsMode, mechanism),
		accounts: fmt.Sprintf(`
			account %s {
				mailbox somebody-else@provider.test
				password_hash sha256:%s
				refresh_token %s
				upstream provider
			}`, stranger, sha256hex([]byte(password)), fmt.Sprintf(refreshTokenOf, user)),
	}, user)
	startDovecot(t, g, addrs[0], addrs[1], "http://sandbox:"+sandboxSecret+"@"+g.sandboxHTTP+"/introspect", "username")

	p, err := strconv.Atoi(port(g.starttls))
	if err != nil {
		t.Fatal(err)
	}
	send := func(user string, messages ...smtplibMessage) []smtplibAnswer {
		t.Helper()
		return runSMTPLib(t, smtplibJob{
			CAFile: g.pki.caFile, Port: p, TLS: "starttls", User: user, Password: password,
			Mechanism: "PLAIN", InitialResponse: true, Messages: messages,
		})
	}

	var messages []smtplibMessage
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		messages = append(messages, smtplibMessage{
			From: from, To: []string{to, "two@example.net"}, MailOptions: []string{"BODY=8BITMIME"},
			Data: message("dovecot-"+name, from, to, bodies[name]),
		})
	}
	for i, a := range send(user, messages...) {
		if a.Error != nil || len(a.Refused) > 0 {
			t.Errorf("message %d: %s %v", i, a.Error, a.Refused)
		}
	}
	got := g.sandbox.messages(relayUser)
	if len(got) != len(messages) {
		t.Fatalf("%d messages behind Dovecot, want %d", len(got), len(messages))
	}
	for i, m := range got {
		body := g.sandbox.body(m.ID)
		added, ok := bytes.CutSuffix(body, messages[i].Data)
		if !ok || !bytes.HasPrefix(added, []byte("Received: ")) || bytes.Count(added, []byte("Received:")) != 1 {
			t.Errorf("message %d did not pass as it was sent: %.300q", i, body)
		}
		if m.From != from || !slices.Equal(m.Rcpts, messages[i].To) {
			t.Errorf("message %d: envelope %s -> %v", i, m.From, m.Rcpts)
		}
	}
	if n := g.sandbox.stats().Mailboxes[relayUser].ConnsTotal; n != 1 {
		t.Errorf("%d connections behind Dovecot for messages sent one after the other, want 1", n)
	}

	// A refusal keeps the words of whoever said it.
	g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 No such person at this address", Mailbox: relayUser, Nth: 2, Times: 1})
	m := smtplibMessage{From: from, To: []string{to, "two@example.net", "three@example.net"}, Data: message("refused", from, to, []byte("x\r\n"))}
	a := send(user, m)[0]
	if words, ok := a.Refused["two@example.net"]; a.Error != nil || len(a.Refused) != 1 || !ok || !strings.Contains(fmt.Sprint(words[1]), "No such person at this address") {
		t.Errorf("refused %v, error %s; want two@example.net refused with the provider's words", a.Refused, a.Error)
	}
	if got := g.sandbox.messages(relayUser); len(got) != len(messages)+1 || !slices.Equal(got[len(messages)].Rcpts, []string{to, "three@example.net"}) {
		t.Errorf("after a refused recipient: %d messages, want %d, the last to the other two", len(got), len(messages)+1)
	}

	// A token for another mailbox: Dovecot explains it in a challenge, which
	// must be completed, and refuses.
	b := send(stranger, smtplibMessage{From: from, To: []string{to}, Data: message("stranger", from, to, []byte("x\r\n"))})[0]
	if !strings.Contains(string(b.Error), "454") && !strings.Contains(string(b.Error), "535") {
		t.Errorf("a mailbox that is not the token's: %s, want 454 or 535", b.Error)
	}
	if got := g.sandbox.messages(relayUser); len(got) != len(messages)+1 {
		t.Errorf("a message went out with a token of another mailbox")
	}
}
