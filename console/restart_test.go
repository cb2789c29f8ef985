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

package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
)

// apart is a console whose gateway is a process of its own.
type apart struct {
	*console
	config string
	cmd    *exec.Cmd
	log    string
}

func newApart(t *testing.T) *apart {
	t.Helper()
	g := &gatewaytest.Gateway{Admin: gatewaytest.FreeAddress(t), SMTP: gatewaytest.FreeAddress(t), Dir: t.TempDir()}
	g.CAFile = filepath.Join(g.Dir, "ca.pem")
	sb, err := sandbox.Start(&sandbox.App{CAFile: g.CAFile, Password: "upstream-password"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.Close() })
	g.Sandbox = sb
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &apart{console: &console{Gateway: g, base: "http://" + gatewaytest.FreeAddress(t), browser: &http.Client{Jar: jar}}, config: filepath.Join(g.Dir, "caddy.json")}
	text := g.Config(t, fmt.Sprintf(`}
%[1]s {
	bind 127.0.0.1
	smtp_connect {
		url %[1]s/connect
		unidentified
	}
	smtp_console {
		url %[1]s/console
	}
`, a.base))
	if err := os.WriteFile(a.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.end(syscall.SIGKILL) })
	a.start(t)
	return a
}

func (a *apart) start(t *testing.T) {
	t.Helper()
	a.log = filepath.Join(a.Dir, "log")
	out, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a.cmd = exec.CommandContext(context.Background(), os.Args[0], "run", "--config", a.config)
	a.cmd.Env = append(os.Environ(), gatewaytest.CommandVar+"=1")
	a.cmd.Stdout, a.cmd.Stderr = out, out
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := a.browser.Get(a.base + "/console/")
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(late) {
			a.end(syscall.SIGKILL)
			t.Fatalf("the gateway does not answer: %v\n%s", err, a.said())
		}
	}
}

// said is the gateway's log.
func (a *apart) said() []byte {
	text, _ := os.ReadFile(a.log)
	return text
}

func (a *apart) end(how syscall.Signal) {
	if a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Signal(how)
	_ = a.cmd.Wait()
	a.cmd = nil
}

var sentOf = regexp.MustCompile(`(\d+) of (\d+) invitations are sent, through \S+?(?:; (\d+) failed)?\. `)

// TestMailingOutlivesProcess ends the gateway amid a mailing, by kill -9 and as a service
// is stopped: the next process goes on by itself, and no owner has two mails.
func TestMailingOutlivesProcess(t *testing.T) {
	a := newApart(t)
	a.AddAccount(t, "it@example.com")
	const owners = 40
	a.Do(t, "PUT", "/smtp/accounts/o@example.com", `{"upstream": "oauth"}`).Want(http.StatusCreated)
	list := "account,to\n"
	for i := range owners {
		list += fmt.Sprintf("o@example.com,owner%d@example.org\n", i)
	}
	p := a.post(t, a.get(t, "/console/invitations/many"), "/console/invitations/many", url.Values{"list": {list}, "how": {"mail"}, "sender": {"it@example.com"}, "pace": {"1000"}})
	if !strings.HasPrefix(p.address, "/console/invitations/mailings/") {
		t.Fatalf("%d %s\n%s", p.status, p.address, p.body)
	}
	progress := func() (sent, failed string, done bool) {
		q := a.get(t, p.address)
		m := sentOf.FindStringSubmatch(q.body)
		if m == nil {
			t.Fatalf("no progress:\n%s", q.body)
		}
		return m[1], m[3], strings.Contains(q.body, "done</span>")
	}
	for i, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		want := 10 * (i + 1)
		for late := time.Now().Add(time.Minute); len(a.Sandbox.Messages()) < want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%d of %d mails have come\n%s", len(a.Sandbox.Messages()), want, a.said())
			}
		}
		_, before, _ := progress()
		a.end(how)
		a.start(t)
		if _, failed, _ := progress(); how == syscall.SIGTERM && failed != before {
			t.Errorf("behind a stop %s mails are in doubt, and %s were before", failed, before)
		}
	}
	for late := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, _, done := progress(); done {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("it does not go on by itself\n%s", a.said())
		}
	}
	got := make(map[string]int)
	for _, m := range a.Sandbox.Messages() {
		got[m.Rcpts[0]]++
	}
	for to, n := range got {
		if n != 1 {
			t.Errorf("%s has %d mails", to, n)
		}
	}
	sent, failed, _ := progress()
	t.Logf("%d owners have a mail, %s are known to, %q are in doubt", len(got), sent, failed)
	var known, doubtful int
	_, _ = fmt.Sscan(sent, &known)
	_, _ = fmt.Sscan(failed, &doubtful)
	if known+doubtful != owners || doubtful > 2 || len(got) < known || len(got) > known+doubtful {
		t.Errorf("%d owners have a mail, %d are known to, %d are in doubt", len(got), known, doubtful)
	}
}
