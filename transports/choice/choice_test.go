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

package choice_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
)

func TestMain(m *testing.M) { gatewaytest.Main(m) }

// upstreams are the global options of these tests.
func upstreams(g *gatewaytest.Gateway) string {
	return fmt.Sprintf(`smtp_upstreams {
		upstream smtp {
			dial %s
			tls starttls {
				trust_pool file %s
			}
			auth xoauth2 sandbox
			messages_per_account 5/24h
			max_wait 2s
		}
		upstream graph {
			transport graph sandbox {
				endpoint %s
				ledger smtp
				max_wait 2s
			}
		}
		upstream office {
			transports smtp graph
		}
	}`, g.Sandbox.SMTPAddr(), g.CAFile, g.Sandbox.HTTPURL())
}

// start returns a gateway with one account, its name and its password. What is
// known of a mailbox outlives the configuration, so each run of a test has its own.
func start(t *testing.T) (g *gatewaytest.Gateway, box, password string) {
	t.Helper()
	box = strings.ToLower(t.Name()+rand.Text()) + "@example.com"
	g = gatewaytest.New(t)
	g.Load(t, upstreams(g))
	out := g.MustRun(t, "rt-"+box, "account", "add", box, "--upstream", "office", "--refresh-token-file", "-")
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.Contains(strings.ToLower(name), "password") {
			return g, box, strings.TrimSpace(value)
		}
	}
	t.Fatalf("no password in %s", out)
	return nil, "", ""
}

var closedFault = sandbox.Fault{
	Stage: "auth", Action: "reply",
	Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.",
}

const msg = "To: to@example.org\r\nSubject: hello\r\n\r\nHello.\r\n"

func send(g *gatewaytest.Gateway, box, password, from string) error {
	return smtp.SendMail(g.SMTP, smtp.PlainAuth("", box, password, "127.0.0.1"), from, []string{"to@example.org"}, []byte(msg))
}

// ways are how the messages came to the sandbox.
func ways(g *gatewaytest.Gateway) string {
	var s []string
	for _, m := range g.Sandbox.MessagesAfter(0, 20) {
		if m.Framing == "GRAPH" {
			s = append(s, "graph")
		} else {
			s = append(s, "smtp")
		}
	}
	return strings.Join(s, " ")
}

// TestClosedWay holds that a message takes SMTP as long as that is open to its
// mailbox, Graph afterwards, that both count in one ledger, and that a closed way
// is not knocked at again and again.
func TestClosedWay(t *testing.T) {
	g, box, password := start(t)
	// The connection of the first message is gone when the second one comes.
	if err := send(g, box, password, box); err != nil {
		t.Fatal(err)
	}
	if got := ways(g); got != "smtp" {
		t.Fatalf("the first message took %s", got)
	}
	g.Sandbox.DropConns(true)
	if _, err := g.Sandbox.AddFault(closedFault); err != nil {
		t.Fatal(err)
	}
	// The message on the connection that was gone may have counted.
	var err error
	n := 1
	for ; err == nil && n <= 5; n++ {
		err = send(g, box, password, box)
	}
	if err == nil || !strings.Contains(err.Error(), "Message quota used up") || n < 5 {
		t.Errorf("message %d of 5 that SMTP and Graph count together: %v", n, err)
	}
	if got := ways(g); !strings.HasPrefix(got, "smtp graph graph") || strings.Count(got, "smtp") != 1 {
		t.Errorf("the messages took %s", got)
	}
	// A refused login is repeated once, with a new token.
	if hits := g.Sandbox.Faults()[0].Hits; hits > 2 {
		t.Errorf("%d logins were refused", hits)
	}
	if err := send(g, box, password, ""); err == nil || !strings.Contains(err.Error(), "null sender") {
		t.Errorf("a null sender where only Graph is left: %v", err)
	}
}

// TestConnectionsShared holds that Graph's requests are connections of the mailbox
// that SMTP counts: where it may have one, an idle one is closed before a request
// leaves.
func TestConnectionsShared(t *testing.T) {
	g := gatewaytest.New(t)
	g.Load(t, strings.NewReplacer("max_wait 2s", "max_wait 1m", "messages_per_account 5/24h", "max_conns_per_account 1").Replace(upstreams(g)))
	box := "shared" + strings.ToLower(rand.Text()) + "@example.com"
	add := func(upstream string) string {
		out := g.MustRun(t, "rt-"+box, "account", "add", upstream+"-"+box, "--mailbox", box, "--upstream", upstream, "--refresh-token-file", "-")
		_, rest, _ := strings.Cut(out, "assword:")
		return strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
	}
	throughSMTP, throughGraph := add("smtp"), add("graph")
	for _, u := range []struct{ name, password string }{{"smtp", throughSMTP}, {"graph", throughGraph}} {
		auth := smtp.PlainAuth("", u.name+"-"+box, u.password, "127.0.0.1")
		if err := smtp.SendMail(g.SMTP, auth, box, []string{"to@example.org"}, []byte(msg)); err != nil {
			t.Fatal(u.name, err)
		}
	}
	if got := ways(g); got != "smtp graph" {
		t.Errorf("the messages took %s", got)
	}
	// By itself it is closed after 55 s.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := g.Sandbox.WaitNoConns(ctx); err != nil {
		t.Error("the idle connection of SMTP stayed open beside a request")
	}
}

// TestOutageIsNoReason holds that a message does not take another way because
// the first one is down.
func TestOutageIsNoReason(t *testing.T) {
	g, box, password := start(t)
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "auth", Action: "reply", Reply: "535 5.7.3 Authentication unsuccessful"}); err != nil {
		t.Fatal(err)
	}
	if err := send(g, box, password, box); err == nil || !strings.Contains(err.Error(), "5.7.3 Authentication unsuccessful") {
		t.Errorf("%v", err)
	}
	if got := ways(g); got != "" {
		t.Errorf("sent through %s", got)
	}
}

// TestDeferred holds that a message which goes in one flight takes the next way as
// well, and once: the first one is closed from the beginning, or when the connection
// that it had is gone.
func TestDeferred(t *testing.T) {
	for name, warm := range map[string]bool{"at once": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			box := "deferred" + strings.ToLower(rand.Text()) + "@example.com"
			g := gatewaytest.New(t)
			addr := gatewaytest.FreeAddress(t)
			g.Load(t, upstreams(g), "smtp {\n server deferred "+addr+" {\n tls off\n envelope deferred\n }\n}")
			out := g.MustRun(t, "rt-"+box, "account", "add", box, "--upstream", "office", "--refresh-token-file", "-")
			_, rest, _ := strings.Cut(out, "assword:")
			password := strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
			g.SMTP = addr
			want := "graph"
			if warm {
				if err := send(g, box, password, box); err != nil {
					t.Fatal(err)
				}
				g.Sandbox.DropConns(true)
				want = "smtp graph"
			}
			if _, err := g.Sandbox.AddFault(closedFault); err != nil {
				t.Fatal(err)
			}
			// A message on the connection that is gone may be refused for now.
			err := send(g, box, password, box)
			for range 3 {
				if err == nil {
					break
				}
				err = send(g, box, password, box)
			}
			if got := ways(g); err != nil || got != want {
				t.Errorf("the messages took %s, want %s: %v", got, want, err)
			}
		})
	}
}

// TestOneBroken holds that the way which is not taken may be broken, that the test
// says so, and that nothing is sent on it.
func TestOneBroken(t *testing.T) {
	g, box, password := start(t)
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorAccessDenied Access is denied"}); err != nil {
		t.Fatal(err)
	}
	out := g.MustRun(t, "", "test", box)
	for _, want := range []string{"messages leave through 'smtp'", "550 5.7.1 ErrorAccessDenied"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if err := send(g, box, password, box); err != nil || ways(g) != "smtp" {
		t.Errorf("the message took %s: %v", ways(g), err)
	}
	// Both: the client hears what the way says that is left.
	if _, err := g.Sandbox.AddFault(closedFault); err != nil {
		t.Fatal(err)
	}
	g.Sandbox.DropConns(true)
	var err error
	for range 5 {
		if err = send(g, box, password, box); err != nil && strings.Contains(err.Error(), "ErrorAccessDenied") {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "5.7.1 ErrorAccessDenied") || ways(g) != "smtp" {
		t.Errorf("both are broken: %v, and the messages took %s", err, ways(g))
	}
}

// TestVerify holds that `smtp test` tries both ways, says which one is taken and
// why, and sends nothing.
func TestVerify(t *testing.T) {
	g, box, _ := start(t)
	out := g.MustRun(t, "", "test", box)
	for _, want := range []string{"trying 'smtp'", "trying 'graph'", "messages leave through 'smtp'"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	ways := func() (taken, closed string) {
		var st struct {
			Upstream relay.AccountStatus `json:"upstream_status"`
		}
		if err := json.Unmarshal(g.Do(t, "GET", "/smtp/accounts/"+box, "").Body, &st); err != nil {
			t.Fatal(err)
		}
		list := st.Upstream.Ways
		if len(list) != 2 || list[0].Upstream != "smtp" || list[1].Upstream != "graph" {
			t.Fatalf("%+v", list)
		}
		for _, w := range list {
			if w.Taken {
				taken += w.Upstream
			}
			if w.Closed != "" {
				closed += w.Upstream + " " + w.Closed
			}
		}
		return taken, closed
	}
	if taken, closed := ways(); taken != "smtp" || closed != "" {
		t.Errorf("taken: %q, closed: %q", taken, closed)
	}
	if _, err := g.Sandbox.AddFault(closedFault); err != nil {
		t.Fatal(err)
	}
	out = g.MustRun(t, "", "test", box)
	for _, want := range []string{box + " can send through office: its messages leave through graph.", "messages leave through 'graph'", "not through 'smtp'", "SmtpClientAuthentication is disabled"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if taken, closed := ways(); taken != "graph" || !strings.HasPrefix(closed, "smtp ") || !strings.Contains(closed, "SmtpClientAuthentication is disabled") {
		t.Errorf("taken: %q, closed: %q", taken, closed)
	}
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorAccessDenied Access is denied"}); err != nil {
		t.Fatal(err)
	}
	if out, _, err := g.Run(t, "", "test", box); err == nil || !strings.Contains(out, "550 5.7.1 ErrorAccessDenied") {
		t.Errorf("both ways are closed: %v\n%s", err, out)
	}
	if n := g.Sandbox.MessageCount(); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

// TestCountsApart holds that upstreams which count one mailbox twice are an error
// of the configuration.
func TestCountsApart(t *testing.T) {
	g := gatewaytest.New(t)
	for name, text := range map[string]string{
		"count the same mailboxes apart": strings.Replace(upstreams(g), "ledger smtp", "", 1),
		"stands there twice":             strings.Replace(upstreams(g), "transports smtp graph", "transports smtp smtp", 1),
		"the limits are those":           strings.Replace(upstreams(g), "ledger smtp", "ledger smtp\nrate_per_account 3/1m", 1),
	} {
		cfg := g.Config(t, text)
		if err := caddy.Validate(mustParse(t, cfg)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n smtp_upstreams {\n upstream a {\n transports b\n }\n }\n}\n"), nil); err == nil {
		t.Error("a choice of one is adapted")
	}
}

func mustParse(t *testing.T, raw []byte) *caddy.Config {
	t.Helper()
	cfg := new(caddy.Config)
	if err := json.Unmarshal(raw, cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}
