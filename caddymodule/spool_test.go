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

package caddymodule_test

import (
	"bytes"
	"fmt"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/admin"
	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/spool"
)

// spooled is a gateway with a spool in front of its upstream, and an account
// that sends through it.
func spooled(t *testing.T, options string) (g *gatewaytest.Gateway, send func(text string) error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	g = gatewaytest.New(t, fmt.Sprintf(`smtp_upstreams {
		upstream kept {
			transport spool sandbox {
				directory %s
				hostname mail.example.com
				min_free 0.001 # whatever disk the tests run on
				%s
			}
		}
	}`, dir, options))
	plain, hash := password.Generate()
	g.Do(t, "PUT", admin.AccountPath("scanner@example.com"),
		`{"upstream": "kept", "secret": "upstream-password", "password_hashes": ["`+hash+`"]}`).Want(201)
	send = func(text string) error {
		c := gatewaytest.Session(t, gatewaytest.Dial(t, g.SMTP))
		if err := c.Auth(smtp.PlainAuth("", "scanner@example.com", plain, "localhost")); err != nil {
			t.Fatal(err)
		}
		if err := c.Mail("scanner@example.com"); err != nil {
			return err
		}
		for _, to := range []string{"a@example.org", "b@example.org"} {
			if err := c.Rcpt(to); err != nil {
				return err
			}
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return w.Close()
	}
	return g, send
}

// await waits until ok says so.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const spoolText = "Subject: scan\r\n\r\n.dots\r\nand \xff octets\r\n"

// TestSpoolWhole sends through a gateway whose provider is in trouble in
// different ways: the client hears 250, the provider gets the message once, with
// one line more than the client sent.
func TestSpoolWhole(t *testing.T) {
	for _, fault := range []sandbox.Fault{
		{Stage: "connect", Action: "refuse"},
		{Stage: "mail", Action: "reply", Reply: "451 4.3.0 not now"},
		{Stage: "rcpt", Action: "reply", Reply: "452 4.2.2 full", Nth: 2},
		{Stage: "end", Action: "reply", Reply: "421 4.3.2 going away"},
		{Stage: "bdat", Action: "close"},
	} {
		t.Run(fault.Stage, func(t *testing.T) {
			g, send := spooled(t, "")
			if _, err := g.Sandbox.AddFault(fault); err != nil {
				t.Fatal(err)
			}
			if err := send(spoolText); err != nil {
				t.Fatalf("the client heard %v", err)
			}
			list := spool.Messages("scanner@example.com", "")
			if len(list) != 1 || list[0].State != "waiting" || len(list[0].Recipients) != 2 {
				t.Fatalf("in the spool: %+v", list)
			}
			if n := g.Sandbox.MessageCount(); n != 0 {
				t.Fatalf("the provider has %d messages already", n)
			}
			g.Load(t, "") // a reload without the spool's upstream: the message stays on the disk
			g.Sandbox.ClearFaults()
		})
	}
}

// TestSpoolDelivers holds that a kept message is delivered once, as it came.
func TestSpoolDelivers(t *testing.T) {
	g, send := spooled(t, "")
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: "451 4.3.0 not now"}); err != nil {
		t.Fatal(err)
	}
	if err := send(spoolText); err != nil {
		t.Fatal(err)
	}
	id := spool.Messages("", "")[0].ID
	g.Sandbox.ClearFaults()
	if err := spool.Release(id); err != nil {
		t.Fatal(err)
	}
	await(t, "the delivery", func() bool { return len(spool.Messages("", "")) == 0 })
	got := g.Sandbox.Messages()
	if len(got) != 1 || len(got[0].Rcpts) != 2 {
		t.Fatalf("the provider has %+v", got)
	}
	body, _ := g.Sandbox.Body(got[0].ID)
	trace, rest, ok := bytes.Cut(body, []byte("Subject:"))
	if !ok || "Subject:"+string(rest) != spoolText {
		t.Errorf("the provider got %q", body)
	}
	if !strings.HasPrefix(string(trace), "Received: by mail.example.com (Mailgateway spool) with UTF8SMTPA\r\n\tid "+id+"; ") ||
		strings.Count(string(trace), "\r\n") != 2 {
		t.Errorf("the trace is %q", trace)
	}
}

// TestSpoolKeepsOut holds that the spool does not show while the provider
// answers: the client hears its words, and no trace is added.
func TestSpoolKeepsOut(t *testing.T) {
	g, send := spooled(t, "")
	if err := send(spoolText); err != nil {
		t.Fatal(err)
	}
	got := g.Sandbox.Messages()
	if len(got) != 1 || len(spool.Messages("", "")) != 0 {
		t.Fatalf("the provider has %d messages, the spool %d", len(got), len(spool.Messages("", "")))
	}
	if body, _ := g.Sandbox.Body(got[0].ID); string(body) != spoolText {
		t.Errorf("the provider got %q", body)
	}
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "end", Action: "reply", Reply: "554 5.7.1 spam"}); err != nil {
		t.Fatal(err)
	}
	if err := send(spoolText); err == nil || !strings.Contains(err.Error(), "5.7.1 spam") {
		t.Errorf("the client heard %v in place of the provider's refusal", err)
	}
}

// TestSpoolAlways holds that `always` answers without the provider, and that the
// message goes out by itself.
func TestSpoolAlways(t *testing.T) {
	g, send := spooled(t, "always")
	if err := send(spoolText); err != nil {
		t.Fatal(err)
	}
	await(t, "the delivery", func() bool { return g.Sandbox.MessageCount() == 1 && len(spool.Messages("", "")) == 0 })
}

// TestSpoolReports holds that a recipient who is refused for good is reported to
// the operator's address, with the provider's words, and that nothing is said
// about a report.
func TestSpoolReports(t *testing.T) {
	g, send := spooled(t, "always\n\t\t\t\treports it@example.com")
	if _, err := g.Sandbox.AddFault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 no such user", Nth: 2, Times: 1}); err != nil {
		t.Fatal(err)
	}
	if err := send(spoolText); err != nil {
		t.Fatal(err)
	}
	await(t, "message and report", func() bool { return g.Sandbox.MessageCount() == 2 && len(spool.Messages("", "")) == 0 })
	got := g.Sandbox.Messages()
	if got[0].From != "scanner@example.com" || len(got[0].Rcpts) != 1 || got[0].Rcpts[0] != "a@example.org" {
		t.Errorf("the message went out as %+v", got[0])
	}
	if got[1].From != "" || len(got[1].Rcpts) != 1 || got[1].Rcpts[0] != "it@example.com" {
		t.Errorf("the report went out as %+v", got[1])
	}
	body, _ := g.Sandbox.Body(got[1].ID)
	for _, want := range []string{
		"Final-Recipient: rfc822; b@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
		"Content-Type: multipart/report; report-type=delivery-status;", "\r\nSubject: scan\r\n",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the report lacks %q:\n%s", want, body)
		}
	}
	if strings.Contains(string(body), "a@example.org") {
		t.Error("the report names a recipient who got the message")
	}
}
