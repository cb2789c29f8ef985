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
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// python is Debian's, which python3-dkim belongs to.
const python = "/usr/bin/python3"

type smtplibMessage struct {
	From        string   `json:"from"`
	To          []string `json:"to"`
	Data        []byte   `json:"data"`
	MailOptions []string `json:"mail_options,omitempty"`
	RcptOptions []string `json:"rcpt_options,omitempty"`
}

type smtplibJob struct {
	CAFile          string           `json:"ca_file"`
	Port            int              `json:"port"`
	TLS             string           `json:"tls"`
	User            string           `json:"user"`
	Password        string           `json:"password"`
	Mechanism       string           `json:"mechanism"`
	InitialResponse bool             `json:"initial_response"`
	Messages        []smtplibMessage `json:"messages"`
}

type smtplibAnswer struct {
	Refused map[string][2]any `json:"refused"`
	Error   json.RawMessage   `json:"error"`
}

func runSMTPLib(t *testing.T, job smtplibJob) []smtplibAnswer {
	t.Helper()
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	out := succeed(t, in, python, "smtplib_client.py")
	var answers []smtplibAnswer
	if err := json.Unmarshal([]byte(out), &answers); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(answers) != len(job.Messages) {
		t.Fatalf("%d answers for %d messages", len(answers), len(job.Messages))
	}
	return answers
}

func TestSMTPLib(t *testing.T) {
	need(t, python)
	const user, from, to = "smtplib@example.com", "someone@else.example", "one@example.net"
	g := startGateway(t, gatewayOptions{}, user, "rejected@example.com")
	job := func(tls, addr, mechanism string, initial bool, messages ...smtplibMessage) smtplibJob {
		p, err := strconv.Atoi(port(addr))
		if err != nil {
			t.Fatal(err)
		}
		return smtplibJob{g.pki.caFile, p, tls, user, password, mechanism, initial, messages}
	}

	t.Run("bodies", func(t *testing.T) {
		var wants []want
		for _, c := range []struct {
			tls, addr, mechanism string
			initial              bool
		}{
			{"starttls", g.starttls, "PLAIN", true},
			{"implicit", g.implicit, "LOGIN", true},
			{"starttls", g.starttls, "LOGIN", false},
			{"off", g.plain, "PLAIN", false},
		} {
			var messages []smtplibMessage
			for _, name := range slices.Sorted(maps.Keys(bodies)) {
				m := message("smtplib-"+c.tls+c.mechanism+"-"+name, from, to, bodies[name])
				messages = append(messages, smtplibMessage{From: from, To: []string{to}, Data: m, MailOptions: []string{"BODY=8BITMIME"}})
				wants = append(wants, want{from, []string{to}, m})
			}
			// A message need not have a header (RFC 5321 does not look).
			for _, raw := range []string{"", ".\r\n", "..\r\n.\r\n"} {
				raw = "X: " + c.tls + c.mechanism + "\r\n\r\n" + raw
				messages = append(messages, smtplibMessage{From: from, To: []string{to}, Data: []byte(raw)})
				wants = append(wants, want{from, []string{to}, []byte(raw)})
			}
			for i, a := range runSMTPLib(t, job(c.tls, c.addr, c.mechanism, c.initial, messages...)) {
				if a.Error != nil || len(a.Refused) > 0 {
					t.Errorf("%s %s: message %d: %s %v", c.tls, c.mechanism, i, a.Error, a.Refused)
				}
			}
		}
		g.sandbox.checkReceived(mailboxOf(user), wants)
	})

	t.Run("refused recipient", func(t *testing.T) {
		const user = "rejected@example.com"
		g.sandbox.fault(sandbox.Fault{Stage: "rcpt", Action: "reply", Reply: "550 5.1.1 <two@example.net> is not known here", Mailbox: mailboxOf(user), Nth: 2})
		m := message("refused", from, to, []byte("for two of three\r\n"))
		j := job("starttls", g.starttls, "PLAIN", true, smtplibMessage{From: from, To: []string{to, "two@example.net", "three@example.net"}, Data: m})
		j.User = user
		a := runSMTPLib(t, j)[0]
		if a.Error != nil || len(a.Refused) != 1 {
			t.Fatalf("refused %v, error %s; want one refused recipient", a.Refused, a.Error)
		}
		reply := a.Refused["two@example.net"]
		if code, _ := reply[0].(float64); code != 550 || reply[1] != "5.1.1 <two@example.net> is not known here" {
			t.Errorf("the refused recipient's reply: %v, want the provider's", reply)
		}
		g.sandbox.checkReceived(mailboxOf(user), []want{{from, []string{to, "three@example.net"}, m}})
	})

	t.Run("parameters", func(t *testing.T) {
		before := len(g.sandbox.messages(mailboxOf(user)))
		m := message("parameters", from, to, []byte("with DSN\r\n"))
		a := runSMTPLib(t, job("starttls", g.starttls, "PLAIN", true, smtplibMessage{
			From: from, To: []string{to}, Data: m,
			MailOptions: []string{"RET=HDRS", "ENVID=abc"}, RcptOptions: []string{"NOTIFY=FAILURE,DELAY"},
		}))[0]
		if a.Error != nil || len(a.Refused) > 0 {
			t.Fatalf("refused %v, error %s", a.Refused, a.Error)
		}
		got := g.sandbox.messages(mailboxOf(user))[before:]
		if len(got) != 1 || !strings.Contains(got[0].Params, "ENVID=abc") || !strings.Contains(got[0].Params, "RET=HDRS") {
			t.Errorf("DSN parameters at the provider: %+v", got)
		}
		if len(got) == 1 && (len(got[0].RcptParams) != 1 || !strings.Contains(got[0].RcptParams[0], "NOTIFY=")) {
			t.Errorf("NOTIFY at the provider: %v", got[0].RcptParams)
		}
	})

	t.Run("unknown parameter", func(t *testing.T) {
		a := runSMTPLib(t, job("starttls", g.starttls, "PLAIN", true, smtplibMessage{
			From: from, To: []string{to}, Data: []byte("x\r\n"), MailOptions: []string{"NOSUCH=1"},
		}))[0]
		if !strings.HasPrefix(string(a.Error), "[555,") || !strings.Contains(string(a.Error), "5.5.4") {
			t.Errorf("reply: %s, want 555 5.5.4", a.Error)
		}
	})
}
