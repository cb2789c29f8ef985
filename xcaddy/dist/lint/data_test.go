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

package lint

import (
	"encoding/json"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// older is the gateway of an earlier commit, which CI builds where the history has
// it. A packager's clone of one commit has not: then it is the same gateway.
func older(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("LINT_OLDER"); bin != "" {
		return absolute(t, bin)
	}
	t.Log("LINT_OLDER names no gateway of an earlier commit: the same one is taken")
	return binary(t)
}

// data is a gateway's folder, with the sandbox of a process of its own, which
// remembers across the gateway's versions what a provider would.
type data struct {
	t       *testing.T
	dir     string
	env     []string
	config  string
	free    map[string]string
	bin     string
	gateway *process
}

// run starts the gateway as a version.
func (d *data) run(bin string) {
	d.t.Helper()
	if d.gateway != nil {
		d.gateway.stop()
	}
	d.bin = bin
	d.gateway = start(d.t, d.env, bin, "run", "--config", d.config)
	d.gateway.eventually(func() error {
		out, err := run(d.t, d.env, bin, "smtp", "account", "list")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (d *data) smtp(args ...string) string {
	d.t.Helper()
	return succeed(d.t, d.env, d.bin, append([]string{"smtp"}, args...)...)
}

// add adds an account and returns its password.
func (d *data) add(name, secret string, args ...string) string {
	d.t.Helper()
	file := write(d.t, filepath.Join(d.dir, "secret"), secret)
	out := d.smtp(append([]string{"account", "add", name, args[0], file}, args[1:]...)...)
	m := regexp.MustCompile(`(?m)^password: (\S+)$`).FindStringSubmatch(out)
	if m == nil {
		d.t.Fatalf("no password in %s", out)
	}
	return m[1]
}

// send sends a message as an account, whose subject says which version it was.
func (d *data) send(name, password, subject string) error {
	return smtp.SendMail("127.0.0.1:"+d.free["2525"], smtp.PlainAuth("", name, password, "127.0.0.1"), name,
		[]string{"you@example.net"}, []byte("Subject: "+subject+"\r\n\r\nIt works.\r\n"))
}

// TestDataBothWays has one folder of data served by an earlier version, by this one,
// and by the earlier one again, and holds that nothing of it is lost on either way:
// accounts and their sealed secrets, refresh tokens that the provider has rotated,
// counts of a quota, the message log, kept mail, invitations.
func TestDataBothWays(t *testing.T) {
	was, is := older(t), binary(t)
	dir := t.TempDir()
	free := ports(t, "2525", "2580", "2587", "2465", "2019", "8080", "9")
	d := &data{t: t, dir: dir, free: free, env: append(home(dir), "CADDY_ADMIN=127.0.0.1:"+free["2019"])}
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	d.config = write(t, filepath.Join(dir, "Caddyfile"), strings.NewReplacer("DIR", dir, "KEY", key, "$SMTP", free["2587"], "$HTTP", free["2580"],
		"$SERVER", free["2525"], "$SITE", free["8080"], "$NONE", free["9"]).Replace(`{
	persist_config off
	storage file_system DIR/storage
	oauth_tokens {
		store storage {
			encryption_key KEY
		}
		provider sandbox generic {
			token_url http://127.0.0.1:$HTTP/token
			auth_url http://127.0.0.1:$HTTP/authorize
			client_id sandbox
			client_secret sandbox-secret
		}
	}
	smtp_upstreams {
		spool {
			directory DIR/spool
		}
		upstream sandbox {
			dial 127.0.0.1:$SMTP
			tls starttls {
				trust_pool file DIR/ca.pem
			}
			auth xoauth2 sandbox
			messages_per_account 5/24h
		}
		upstream away {
			dial 127.0.0.1:$NONE
			tls starttls
			auth plain
		}
	}
	smtp {
		hostname localhost
		messages {
			directory DIR/messages
		}
		accounts {
			dynamic {
				encryption_key KEY
			}
		}
		server submission 127.0.0.1:$SERVER {
			tls off
		}
	}
}
http://127.0.0.1:$SITE {
	smtp_connect {
		url https://mail.example.com/connect
		unidentified
	}
}
`))
	sandbox := start(t, home(t.TempDir()), is, "smtp", "sandbox", "--http", "127.0.0.1:"+free["2580"], "--smtp", "127.0.0.1:"+free["2587"],
		"--smtps", "127.0.0.1:"+free["2465"], "--rotate-refresh-tokens")
	sandbox.eventually(func() error {
		out, err := exec.Command("curl", "-sSf", "-o", dir+"/ca.pem", "http://127.0.0.1:"+free["2580"]+"/ca.pem").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})

	d.run(was)
	robot := d.add("robot@example.com", "rt-robot@example.com", "--refresh-token-file", "--upstream", "sandbox", "--label", "floor=3")
	late := d.add("late@example.com", "secret", "--secret-file", "--upstream", "away", "--spool", "always")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		must(d.send("robot@example.com", robot, "by the earlier version"))
	}
	must(d.send("late@example.com", late, "kept by the earlier version"))
	d.smtp("invite", "add", "robot@example.com", "--by", "Example IT")

	// holds says what has to be there, as the version that runs sees it.
	holds := func(delivered, kept, invited int) {
		t.Helper()
		var account struct {
			Labels map[string]string
		}
		if err := json.Unmarshal([]byte(d.smtp("account", "show", "robot@example.com")), &account); err != nil || account.Labels["floor"] != "3" {
			t.Errorf("the account is %+v, %v", account, err)
		}
		if n := strings.Count(d.smtp("messages", "--upstream", "sandbox", "--json"), `"you@example.net"`); n < delivered {
			t.Errorf("the message log has %d messages, and %d were delivered", n, delivered)
		}
		if n := strings.Count(d.smtp("spool", "list"), "late@example.com"); n != kept {
			t.Errorf("the spool has %d messages, want %d:\n%s", n, kept, d.smtp("spool", "list"))
		}
		if n := strings.Count(d.smtp("invite", "list", "--state", "open"), "@example.com"); n != invited {
			t.Errorf("%d invitations are open, want %d", n, invited)
		}
		if got := get(t, "http://127.0.0.1:"+free["2580"]+"/messages"); !strings.Contains(got, fmt.Sprintf(`"count": %d,`, delivered)) {
			t.Errorf("want %d delivered: %.200s", delivered, got)
		}
	}
	holds(2, 1, 1)

	d.run(is)
	holds(2, 1, 1)
	must(d.send("robot@example.com", robot, "by this version"))
	must(d.send("late@example.com", late, "kept by this version"))
	second := d.add("second@example.com", "rt-second@example.com", "--refresh-token-file", "--upstream", "sandbox")
	d.smtp("invite", "add", "second@example.com", "--by", "Example IT")
	must(d.send("second@example.com", second, "by this version"))
	holds(4, 2, 2)

	d.run(was)
	holds(4, 2, 2)
	for range 2 {
		must(d.send("robot@example.com", robot, "back"))
	}
	must(d.send("second@example.com", second, "back"))
	// Five of five were counted, by two versions.
	if err := d.send("robot@example.com", robot, "one too many"); err == nil || !strings.Contains(err.Error(), "quota used up") {
		t.Errorf("a sixth message of five: %v", err)
	}
	holds(7, 2, 2)
	d.gateway.stop()
	sandbox.stop()
}
