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

package migrate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestEmailProxyDefaults has what Python's configparser knows of that is in no sample: a
// section that speaks for all, and a server with TLS from the start.
func TestEmailProxyDefaults(t *testing.T) {
	f, err := EmailProxy(strings.NewReader(`[DEFAULT]
token_url = https://id.acme.example/token
permission_url = https://id.acme.example/authorize
oauth2_scope = smtp
client_id = shared

[SMTP-1465]
server_address = mail.acme.example
server_port = 465

[a@acme.example]

[b@acme.example]
client_id = own
`))
	if err != nil || len(f.Accounts) != 2 || f.Accounts[0].Err != nil || f.Accounts[1].Err != nil || len(f.Providers) != 2 {
		t.Fatalf("%v, %+v", err, f)
	}
	if f.Providers[0].ClientID != "shared" || f.Providers[1].ClientID != "own" {
		t.Errorf("%+v", f.Providers)
	}
	if _, upstream := f.Providers[0].Caddyfile(); !strings.Contains(upstream, "dial mail.acme.example:465\n\ttls implicit\n") {
		t.Errorf("%s", upstream)
	}
}

// TestPredecessorTwice holds that a file of two is not taken for its first half.
func TestPredecessorTwice(t *testing.T) {
	const one = `{"email": "a@gmail.com", "provider": "gmail", "client_id": "c", "refresh_token": "r"}`
	for file, failed := range map[string]int{
		"[" + one + "]\n": 0, `{"accounts": [` + one + `], "_x": 1}` + "\n\n": 0,
		"[" + one + "]\n[" + one + "]": 1, "[" + one + "] more": 1, `{"accounts": [` + one + `]}` + "\n" + one: 1,
	} {
		f, err := Predecessor(strings.NewReader(file))
		if err != nil || len(f.Accounts) != 1+failed || f.Accounts[0].Err != nil {
			t.Errorf("%s: %v, %+v", file, err, f)
			continue
		}
		if failed > 0 && !strings.Contains(f.Accounts[1].Err.Error(), "follows the accounts") {
			t.Errorf("%s: %v", file, f.Accounts[1].Err)
		}
	}
}

// TestPostfix reads sasl_passwd as postmap does: comments, lines that go on, keys in
// quotes, services in place of ports, and the same login for many senders.
func TestPostfix(t *testing.T) {
	f, err := Postfix(strings.NewReader("\ufeff# a comment\r\n" +
		"[smtp.gmail.com]:587 one@gmail.com:app pass:word\n" +
		"one@gmail.com one@gmail.com:app pass:word\n" +
		"smtp.acme.example:submissions\n  # between\n\ttwo@acme.example:MARKED2\n" +
		"\n   \n\"[mail.acme.example]\"   three@acme.example:MARKED3\n" +
		"sales@acme.example apikey:MARKED4\n" +
		"[2001:db8::1]:2525 six@acme.example:MARKED6\n" +
		"[smtp.office365.com]:587 five@contoso.example:MARKED5\n" +
		"x@acme.example seven@acme.example:MARKED7\nmail.acme.example seven@acme.example:MARKED7\n" +
		"nothing\nhost noseparator\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range f.Accounts {
		r := a.Record
		got = append(got, fmt.Sprint(a.Line, " ", r.Name, " ", r.Mailbox, " ", r.Secret, " ", r.Upstream, " ", a.Err != nil))
	}
	want := []string{
		"2 one@gmail.com  app pass:word gmail false", "4 two@acme.example  MARKED2 imported false", "9 three@acme.example  MARKED3 imported2 false",
		"10 sales@acme.example apikey MARKED4 imported3 false", "11 six@acme.example  MARKED6 imported4 false", "12 five@contoso.example   microsoft365 false",
		"14 seven@acme.example  MARKED7 imported2 false", "15     true", "16     true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var advice string
	for i := range f.Providers {
		advice += f.Providers[i].Advice()
	}
	for _, want := range []string{
		"upstream gmail {\n\tauth plain\n}", "dial smtp.acme.example:465\n\ttls implicit\n\tauth plain", "dial mail.acme.example:25", "dial [2001:db8::1]:2525",
		"upstream microsoft365 {\n}",
	} {
		if !strings.Contains(advice, want) {
			t.Errorf("no %q in\n%s", want, advice)
		}
	}
	if !strings.Contains(advice, "1 account needs in smtp_upstreams:\nupstream gmail") {
		t.Errorf("%s", advice)
	}
	if said := fmt.Sprint(advice, f.Notes, f.Accounts[len(f.Accounts)-1].Err); strings.Contains(said, "MARKED") || strings.Contains(said, "noseparator") {
		t.Errorf("a password: %s", said)
	}
	if _, err := Postfix(strings.NewReader("# nothing\n")); err == nil {
		t.Error("an empty table")
	}
}
