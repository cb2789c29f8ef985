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
	"context"
	"fmt"
	"maps"
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
)

const postfixMainCF = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[2]s
maillog_file = /dev/stdout
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.example.com
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
smtpd_tls_security_level = none
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s

# What docs/ says for Postfix in front of the gateway.
relayhost = [localhost]:%[3]s
smtp_host_lookup = native
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:%[1]s/conf/sasl_passwd
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_CAfile = %[4]s
smtp_tls_secure_cert_match = hostname
`

const postfixMasterCF = `
%[1]s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs an own Postfix that relays everything through the gateway; more
// are lines of main.cf.
func startPostfix(t *testing.T, g *gateway, login string, more ...string) (p *process, addr string) {
	t.Helper()
	programs := need(t, "postfix", "postconf")
	if os.Getuid() != 0 {
		t.Fatal("Postfix starts as root only")
	}
	dir := publicDir(t)
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"conf", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := strconv.Atoi(owner.Uid)
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(g.pki.caFile)
	if err != nil {
		t.Fatal(err)
	}
	addr = freeAddrs(t, 1)[0]
	daemons := strings.TrimSpace(succeed(t, nil, programs[1], "-d", "-h", "daemon_directory"))
	conf := filepath.Join(dir, "conf")
	for name, content := range map[string]string{
		"main.cf":     fmt.Sprintf(postfixMainCF, dir, daemons, port(g.starttls), filepath.Join(conf, "ca.pem")) + strings.Join(more, "\n") + "\n",
		"master.cf":   fmt.Sprintf(postfixMasterCF, addr),
		"ca.pem":      string(ca),
		"sasl_passwd": fmt.Sprintf("[localhost]:%s %s:%s\n", port(g.starttls), login, password),
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p = start(t, exec.Command(programs[0], "-c", conf, "start-fg"))
	// start-fg is a shell script: the daemon itself must be told.
	t.Cleanup(func() { _, _ = command(t, nil, programs[0], "-c", conf, "stop") })
	p.waitListening(addr)
	flushQueue(t, programs[0], conf)
	return p, addr
}

// flushQueue has the deferred queue tried every few seconds, as an operator's
// `postfix flush` does: a message that the queue manager meets while its
// delivery is just ending is "skipped, still being delivered", and then it has
// been seen to lie there.
func flushQueue(t *testing.T, postfix, conf string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = exec.CommandContext(ctx, postfix, "-c", conf, "flush").Run()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

var postfixDelivery = regexp.MustCompile(`: (\w+): to=<([^>]*)>, .*dsn=([\d.]+), status=(\w+) \((.*)\)`)

// TestPostfix has Postfix as a relaying MTA in front of the gateway.
func TestPostfix(t *testing.T) {
	need(t, "postfix")
	const login = "postfix@example.com"
	const sender = "newsletter@else.example"
	g := startGateway(t, gatewayOptions{}, login)
	p, addr := startPostfix(t, g, login)
	mailbox := mailboxOf(login)

	// arrived tells whether the provider has what was sent, with the one
	// field that an MTA must add in front.
	arrived := func(got sandbox.Message, msg []byte) bool {
		body := g.sandbox.body(got.ID)
		if sha256hex(body) != got.SHA256 {
			t.Errorf("message %d: the body and its SHA-256 differ", got.ID)
		}
		added, ok := bytes.CutSuffix(body, msg)
		return ok && bytes.HasPrefix(added, []byte("Received: from ")) && bytes.Count(added, []byte("Received:")) == 1
	}

	t.Run("queue", func(t *testing.T) {
		type mail struct {
			rcpts []string
			msg   []byte
		}
		var mails []mail
		add := func(id string, body []byte) {
			rcpts := []string{id + ".a@example.net", id + ".b@example.org", id + ".c@example.com"}
			mails = append(mails, mail{rcpts, message(id, sender, rcpts[0], body)})
		}
		for _, name := range slices.Sorted(maps.Keys(bodies)) {
			add("body-"+name, bodies[name])
		}
		for i := range 50 {
			add(fmt.Sprintf("bulk-%d", i), []byte("one of many\r\n"))
		}
		var wg sync.WaitGroup
		next := make(chan mail)
		for range 5 {
			wg.Go(func() {
				for m := range next {
					if err := smtp.SendMail(addr, nil, sender, m.rcpts, m.msg); err != nil {
						t.Errorf("handing over to Postfix: %v", err)
					}
				}
			})
		}
		for _, m := range mails {
			next <- m
		}
		close(next)
		wg.Wait()

		got := make(map[string]sandbox.Message)
		for _, m := range g.sandbox.waitMessages(mailbox, len(mails)) {
			slices.Sort(m.Rcpts)
			got[m.From+" "+strings.Join(m.Rcpts, " ")] = m
		}
		for _, m := range mails {
			g, ok := got[sender+" "+strings.Join(m.rcpts, " ")]
			if !ok || !arrived(g, m.msg) {
				t.Errorf("the message to %s did not arrive as it was sent (arrived at all: %v)", m.rcpts[0], ok)
			}
		}
		// Every recipient's delivery is logged with the provider's words.
		p.waitOutputFunc("all deliveries", func(s string) bool {
			n := 0
			for _, d := range postfixDelivery.FindAllStringSubmatch(s, -1) {
				if d[4] == "sent" && strings.HasPrefix(d[5], "250 2.0.0 Ok: kept as ") {
					n++
				}
			}
			return n == 3*len(mails)
		})
		if n := len(g.sandbox.messages(mailbox)); n != len(mails) {
			t.Errorf("the sandbox has %d messages, want %d", n, len(mails))
		}
		if st := g.sandbox.stats().Mailboxes[mailbox]; st.ConnsPeak > 10 || st.ConnsTotal > 10 {
			t.Errorf("%d upstream connections, %d at a time, want at most 10 (the default of max_conns_per_account)", st.ConnsTotal, st.ConnsPeak)
		}
	})

	t.Run("bounce", func(t *testing.T) {
		before := len(g.sandbox.messages(mailbox))
		g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 No such person at this address", Mailbox: mailbox, Nth: 2, Times: 1})
		rcpts := []string{"bounce.a@example.net", "bounce.b@example.net", "bounce.c@example.net"}
		msg := message("bounce", sender, rcpts[0], []byte("two of three\r\n"))
		if err := smtp.SendMail(addr, nil, sender, rcpts, msg); err != nil {
			t.Fatal(err)
		}
		var sent, bounced []string
		p.waitOutputFunc("three results", func(s string) bool {
			sent, bounced = nil, nil
			for _, d := range postfixDelivery.FindAllStringSubmatch(s, -1) {
				switch {
				case !strings.HasPrefix(d[2], "bounce."):
				case d[4] == "sent":
					sent = append(sent, d[2])
				case d[4] == "bounced" && d[3] == "5.1.1" && strings.Contains(d[5], "said: 550 5.1.1 No such person at this address"):
					bounced = append(bounced, d[2])
				default:
					t.Fatalf("delivery: %v", d)
				}
			}
			return len(sent)+len(bounced) == 3
		})
		if len(bounced) != 1 {
			t.Fatalf("bounced %v, sent %v; want one and two", bounced, sent)
		}

		// The message to two, and Postfix's report to the sender.
		got := g.sandbox.waitMessages(mailbox, before+2)[before:]
		if len(got) != 2 {
			t.Fatalf("%d messages, want 2", len(got))
		}
		m, dsn := got[0], got[1]
		if m.From == "" {
			m, dsn = dsn, m
		}
		slices.Sort(m.Rcpts)
		slices.Sort(sent)
		if !slices.Equal(m.Rcpts, sent) || !slices.Equal(m.Refused, bounced) || !arrived(m, msg) {
			t.Errorf("at the provider: to %v, refused %v; the log says %v and %v", m.Rcpts, m.Refused, sent, bounced)
		}
		if dsn.From != "" || !slices.Equal(dsn.Rcpts, []string{sender}) {
			t.Errorf("the report's envelope: <%s> -> %v, want <> -> %s", dsn.From, dsn.Rcpts, sender)
		}
		report := string(g.sandbox.body(dsn.ID))
		for _, want := range []string{
			"Final-Recipient: rfc822; " + bounced[0], "Action: failed", "Status: 5.1.1",
			"Diagnostic-Code: smtp; 550 5.1.1 No such person at this address",
		} {
			if !strings.Contains(report, want) {
				t.Errorf("the report lacks %q", want)
			}
		}
		for _, rcpt := range sent {
			if strings.Contains(report, "Final-Recipient: rfc822; "+rcpt) {
				t.Errorf("the report names %s, which was delivered", rcpt)
			}
		}
	})

	t.Run("deferral", func(t *testing.T) {
		for _, f := range []sandbox.Fault{
			{Stage: "mail", Action: "reply", Reply: "451 4.3.2 Busy, come back", Times: 1},
			{Stage: "end", Action: "reply", Reply: "452 4.3.1 No space", Times: 1},
			{Stage: "body", Action: "reset", Times: 1},
		} {
			before := len(g.sandbox.messages(mailbox))
			f.Mailbox = mailbox
			g.sandbox.fault(f)
			rcpt := "deferred." + f.Stage + "@example.net"
			msg := message("deferral-"+f.Stage, sender, rcpt, []byte("in the end\r\n"))
			if err := smtp.SendMail(addr, nil, sender, []string{rcpt}, msg); err != nil {
				t.Fatal(err)
			}
			var states []string
			p.waitOutputFunc(rcpt+" to be delivered", func(s string) bool {
				states = nil
				for _, d := range postfixDelivery.FindAllStringSubmatch(s, -1) {
					if d[2] == rcpt {
						states = append(states, d[4])
					}
				}
				return slices.Contains(states, "sent") || slices.Contains(states, "bounced")
			})
			if !slices.Equal(states, []string{"deferred", "sent"}) {
				t.Errorf("%s: states %v, want deferred and then sent", f.Stage, states)
			}
			got := g.sandbox.messages(mailbox)[before:]
			if len(got) != 1 || !arrived(got[0], msg) {
				t.Errorf("%s: the provider has it %d times, want once as it was sent", f.Stage, len(got))
			}
		}
	})
}
