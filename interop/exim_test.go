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
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
)

// eximConf is an Exim that relays everything; %[3]s is the program, %[4]s, %[5]s and %[6]s are the
// snippet's routers, transports and authenticators.
const eximConf = `
primary_hostname = mta.example.com
exim_path = %[3]s
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path =
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]s
domainlist local_domains =
acl_smtp_rcpt = accept_all
acl_smtp_data = accept_all
tls_advertise_hosts =
qualify_domain = mta.example.com
log_selector = +smtp_confirmation

begin acl
accept_all:
  accept

begin routers
%[4]s
begin transports
%[5]s
begin authenticators
%[6]s
begin retry
* * F,1h,1s
`

// exim finds the program: installed, or unpacked where the variable says,
// since Debian does not install it beside Postfix.
func exim(t *testing.T) string {
	t.Helper()
	need(t)
	bin := "exim4"
	if dir := os.Getenv("MAILGATEWAY_EXIM"); dir != "" {
		bin = filepath.Join(dir, "usr/sbin/exim4")
	}
	path, err := exec.LookPath(bin)
	if err != nil {
		t.Fatalf("%s: %v (see interop/README.md for what to install)", bin, err)
	}
	if os.Getuid() != 0 {
		t.Fatal("Exim takes another configuration from root only")
	}
	return path
}

var snippetPart = regexp.MustCompile(`(?m)^# (?:routers|transports|authenticators|/etc/).*\n`)

// startExim runs an own Exim with what ` + "`smtp snippet exim`" + ` prints.
func startExim(t *testing.T, g *gateway) (addr, log string) {
	t.Helper()
	bin := exim(t)
	// The user that Debian's Exim was built for.
	owner, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Fatal(err)
	}
	snippet := succeed(t, nil, gatewayBinary, "smtp", "snippet", "exim",
		"--config", g.conf, "--adapter", "caddyfile", "--gateway", "localhost:"+port(g.starttls))
	parts := snippetPart.Split(snippet, -1)
	if len(parts) != 5 {
		t.Fatalf("the snippet has %d parts, want routers, transports, authenticators and passwords:\n%s", len(parts)-1, snippet)
	}
	dir := publicDir(t)
	for _, d := range []string{"spool", "log"} {
		succeed(t, nil, "install", "-d", "-o", owner.Username, filepath.Join(dir, d))
	}
	// Exim starts itself anew as its own user, who may not get to where it is.
	succeed(t, nil, "install", "-m", "755", bin, filepath.Join(dir, "exim4"))
	bin = filepath.Join(dir, "exim4")
	passwords := filepath.Join(dir, "passwd")
	// Exim reads it as its own user.
	ca := filepath.Join(dir, "ca.pem")
	succeed(t, nil, "install", "-m", "644", g.pki.caFile, ca)
	// What the snippet cannot know: the passwords, the authority of the test's
	// certificate, and that the gateway is on the same host.
	router := strings.Replace(parts[1], "  no_more\n", "  self = send\n  no_more\n", 1)
	transport := strings.Replace(parts[2], "tls_verify_certificates = system", "tls_verify_certificates = "+ca, 1)
	authenticator := strings.ReplaceAll(parts[3], "/etc/exim4/mailgateway_passwd", passwords)
	addr = freeAddrs(t, 1)[0]
	conf := filepath.Join(dir, "exim.conf")
	for name, content := range map[string]string{
		passwords: strings.ReplaceAll(parts[4], "PASSWORD", password),
		conf:      fmt.Sprintf(eximConf, dir, port(addr), bin, router, transport, authenticator),
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, exec.Command(bin, "-C", conf, "-bdf", "-q1s"))
	p.waitListening(addr)
	log = filepath.Join(dir, "log", "mainlog")
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(log)
			t.Logf("Exim's log:\n%s", tail(string(b), 40))
		}
	})
	return addr, log
}

// TestExim has Exim as a relaying MTA in front of the gateway, with the
// configuration that the gateway prints for it.
func TestExim(t *testing.T) {
	exim(t)
	users := []string{"alerts@example.com", "billing@example.com"}
	g := startGateway(t, gatewayOptions{}, users...)
	addr, log := startExim(t, g)
	rcpts := []string{"a@example.net", "b@example.org", "c@example.com"}

	t.Run("delivery", func(t *testing.T) {
		sent := make(map[string][][]byte)
		for _, from := range users {
			for _, name := range slices.Sorted(maps.Keys(bodies)) {
				msg := message("exim-"+name, from, rcpts[0], bodies[name])
				sent[from] = append(sent[from], msg)
				if err := smtp.SendMail(addr, nil, from, rcpts, msg); err != nil {
					t.Fatalf("%s, %s: handing over to Exim: %v", from, name, err)
				}
			}
		}
		// Each sender's mail leaves through the sender's own mailbox, unchanged
		// behind the one field that an MTA must add.
		for _, from := range users {
			var left [][]byte
			left = append(left, sent[from]...)
			for _, m := range g.sandbox.waitMessages(mailboxOf(from), len(left)) {
				if m.From != from || len(m.Rcpts) != len(rcpts) {
					t.Errorf("from %s to %v", m.From, m.Rcpts)
				}
				body := g.sandbox.body(m.ID)
				i := slices.IndexFunc(left, func(msg []byte) bool {
					added, ok := bytes.CutSuffix(body, msg)
					return ok && bytes.HasPrefix(added, []byte("Received: from ")) && bytes.Count(added, []byte("Received:")) == 1
				})
				if i < 0 {
					t.Errorf("%s: message %d is not one that was sent:\n%.300q", from, m.ID, body)
					continue
				}
				left = slices.Delete(left, i, i+1)
			}
			if len(left) != 0 {
				t.Errorf("%s: %d messages did not arrive as they were sent", from, len(left))
			}
		}
	})

	t.Run("deferred", func(t *testing.T) {
		before := len(g.sandbox.messages(mailboxOf(users[0])))
		g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "451 4.2.1 not right now", Times: 1})
		msg := message("exim-later", users[0], rcpts[0], bodies["plain"])
		if err := smtp.SendMail(addr, nil, users[0], rcpts[:1], msg); err != nil {
			t.Fatal(err)
		}
		waitFile(t, log, "451 4.2.1 not right now")
		if got := g.sandbox.waitMessages(mailboxOf(users[0]), before+1); len(got) != before+1 {
			t.Errorf("%d messages, want %d", len(got), before+1)
		}
	})

	t.Run("refused", func(t *testing.T) {
		g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 nobody of that name", Times: 1})
		msg := message("exim-refused", users[1], rcpts[0], bodies["plain"])
		if err := smtp.SendMail(addr, nil, users[1], rcpts[:1], msg); err != nil {
			t.Fatal(err)
		}
		// The provider's words, and then the bounce, which has no sender and so
		// no login.
		waitFile(t, log, "550 5.1.1 nobody of that name")
		waitFile(t, log, "<= <> R=")
	})

	t.Run("unknown sender", func(t *testing.T) {
		msg := message("exim-unknown", "stranger@else.test", rcpts[0], bodies["plain"])
		if err := smtp.SendMail(addr, nil, "stranger@else.test", rcpts[:1], msg); err != nil {
			t.Fatal(err)
		}
		waitFile(t, log, "authentication required but")
		if strings.Contains(g.out.String(), "authentication failed") {
			t.Error("Exim tries logins that cannot succeed")
		}
	})
}

// waitFile waits until a file has a text.
func waitFile(t *testing.T, path, text string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		b, _ := os.ReadFile(path)
		if strings.Contains(string(b), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no %q", path, text)
		}
		time.Sleep(50 * time.Millisecond) // a file gives no sign
	}
}
