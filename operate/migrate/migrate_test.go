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
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
)

// report is what an importer made of a file, in a form to compare.
func report(f *Foreign) string {
	var b strings.Builder
	for _, im := range f.Accounts {
		if im.Err != nil {
			fmt.Fprintf(&b, "%d: %v\n", im.Line, im.Err)
			continue
		}
		r := im.Record
		fmt.Fprintf(&b, "%d: %s via %s", im.Line, r.Name, r.Upstream)
		if r.Limits != nil {
			fmt.Fprintf(&b, " (%s)", describeLimits(r.Limits))
		}
		if r.SourceIP != "" {
			fmt.Fprintf(&b, " from %s", r.SourceIP)
		}
		if len(r.Labels) > 0 {
			fmt.Fprintf(&b, " %v", r.Labels)
		}
		b.WriteString("\n")
		for _, n := range im.Notes {
			fmt.Fprintf(&b, "  %s\n", n)
		}
	}
	for _, n := range f.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for i := range f.Providers {
		p, u := f.Providers[i].Caddyfile()
		b.WriteString(p + u)
	}
	return b.String()
}

func compareReport(t *testing.T, f *Foreign, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got := report(f)
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if strings.Contains(got, "MARKED") {
		t.Error("the report holds a secret")
	}
}

const predecessorArray = `[
  {
    "_comment": "the first",
    "account_id": "gmail_one", "email": "one@gmail.com", "provider": "gmail",
    "client_id": "1.apps.googleusercontent.com", "client_secret": "MARKED-secret",
    "refresh_token": "MARKED-one", "ip_address": "127.0.0.2", "vmta_name": "vmta-one",
    "oauth_endpoint": "smtp.gmail.com:587", "oauth_token_url": "https://oauth2.googleapis.com/token",
    "max_concurrent_messages": 5,
    "connection_settings": {"max_connections_per_account": 4, "max_messages_per_connection": 50, "_c": 1},
    "rate_limiting": {"enabled": true, "messages_per_hour": 100, "burst_size": 5},
    "retry": {"max_attempts": 2}
  },
  {"account_id": "o", "email": "two@contoso.example", "provider": "outlook", "client_id": "c", "refresh_token": "MARKED-two",
   "oauth_token_url": "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token", "ip_address": "not an address"},
  {"email": "three@hotmail.com", "provider": "outlook", "client_id": "c", "refresh_token": "MARKED-three", "verify": true},
  {"email": "four@gmail.com", "provider": "gmail", "client_id": 5, "refresh_token": "MARKED-four"},
  {"email": "ONE@gmail.com", "provider": "gmail", "client_id": "1.apps.googleusercontent.com", "client_secret": "x", "refresh_token": "MARKED-five"},
  {"email": "six@gmail.com", "provider": "gmail", "client_id": "1.apps.googleusercontent.com", "client_secret": "", "refresh_token": "MARKED-six",
   "oauth_token_url": "https://evil.example/token"},
  {"email": "seven@gmail.com", "provider": "gmail", "client_id": "1.apps.googleusercontent.com"},
  "eight",
  {"email": "nine@gmail.com", "provider": "gmail", "client_id": "1.apps.googleusercontent.com", "refresh_token": "MARKED\nnine"}
]`

func TestPredecessor(t *testing.T) {
	const want = `
2: one@gmail.com via gmail (max_conns 4, messages 100/1h) from 127.0.0.2 map[account_id:gmail_one vmta_name:vmta-one]
  field 'connection_settings.max_messages_per_connection' is not carried over; the upstream's max_messages_per_conn is for all its accounts
  field 'rate_limiting.burst_size' is not carried over
  limits: max_conns 4, messages 100/1h; the predecessor did not enforce them, this gateway does
  field 'retry' is not carried over; the provider's max_attempts is for all its accounts
13: two@contoso.example via microsoft365 map[account_id:o]
  field 'ip_address': not an address of an interface, not carried over; the predecessor sent from the default address then
15: three@hotmail.com via outlook
  field 'verify' is not carried over
16: account "four@gmail.com": field 'client_id': want a string
17: account "ONE@gmail.com": field 'name': duplicate of the account at line 2
18: six@gmail.com via gmail2
  field 'oauth_token_url': evil.example is not the provider's own token endpoint; make sure that it may have the refresh token
  field 'client_secret': it is empty, and Google wants one
20: account "seven@gmail.com": field 'refresh_token': must not be empty
21: want a JSON object
22: account "nine@gmail.com": field 'refresh_token': control characters are not allowed
note: The predecessor accepted any password. Here each account needs one of the gateway's: nobody can log in without it.
provider google {
	client_id 1.apps.googleusercontent.com
	client_secret {file./etc/mailgateway/credentials/google.secret}
}
upstream gmail {
	auth xoauth2 google
}
provider microsoft {
	tenant contoso.example
	client_id c
}
upstream microsoft365 {
	auth xoauth2 microsoft
}
provider microsoft2 microsoft {
	client_id c
}
upstream outlook {
	auth xoauth2 microsoft2
}
provider google2 google {
	token_url https://evil.example/token
	client_id 1.apps.googleusercontent.com
}
upstream gmail2 gmail {
	auth xoauth2 google2
}`
	f, err := Predecessor(strings.NewReader(predecessorArray))
	compareReport(t, f, err, want)
	if got := f.Accounts[0].Record.RefreshToken; got != "MARKED-one" {
		t.Errorf("refresh token %q", got)
	}
}

func TestPredecessorWrapped(t *testing.T) {
	f, err := Predecessor(strings.NewReader(`{"_v": 1, "global": {"a": [1]}, "accounts": [` + "\n" +
		`{"email":"a@gmail.com","provider":"gmail","client_id":"c","client_secret":"MARKED","refresh_token":"MARKED"}], "after": 2}`))
	compareReport(t, f, err, `
2: a@gmail.com via gmail
note: field 'global' beside the accounts is not carried over
note: field 'after' beside the accounts is not carried over
note: The predecessor accepted any password. Here each account needs one of the gateway's: nobody can log in without it.
provider google {
	client_id c
	client_secret {file./etc/mailgateway/credentials/google.secret}
}
upstream gmail {
	auth xoauth2 google
}`)
	for text, want := range map[string]string{
		"":                    "accounts.json: line 1: malformed JSON",
		"[":                   "accounts.json: line 1: malformed JSON",
		`"x"`:                 "accounts.json: want an array of accounts, or an object with an array 'accounts'",
		`{}`:                  "accounts.json: there is no array 'accounts'",
		`{"accounts":{}}`:     "accounts.json: field 'accounts': want an array",
		"\n\n[{\"MARKED\": ]": "accounts.json: line 3: malformed JSON",
		"[\"\xff\"]":          "the file is not UTF-8 text",
	} {
		if _, err := Predecessor(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	// What comes before the damage is not lost.
	f, err = Predecessor(strings.NewReader(`[{"email":"a@gmail.com","provider":"gmail","client_id":"c","client_secret":"s","refresh_token":"t"},` + "\n{oops"))
	if err != nil || len(f.Accounts) != 2 || f.Accounts[0].Err != nil || f.Accounts[1].Err == nil || f.Accounts[1].Line != 2 {
		t.Errorf("truncated: %v, %v", f, err)
	}
}

// Ten thousand accounts, each with a client of its own.
func TestManyProviders(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "a%d@gmail.com,,token,client%d\n", i, i)
	}
	f, err := CSV(strings.NewReader(b.String()))
	checkForeign(t, f, err)
	if len(f.Accounts) != 10_000 || len(f.Providers) != 10_000 || f.Accounts[9999].Record.Upstream != "gmail10000" {
		t.Errorf("%d accounts, %d providers", len(f.Accounts), len(f.Providers))
	}
}

func TestCSV(t *testing.T) {
	f, err := CSV(strings.NewReader("\xef\xbb\xbfEmail,account_id,refresh_token,client_id\r\n" +
		"a@gmail.com,id-a,MARKED-a,1.apps.googleusercontent.com\r\n" +
		"\n# comment\n" +
		`"b@contoso.example", id-b, "MARKED,b", 11111111-2222-3333-4444-555555555555, 2024-01-01, host` + "\n" +
		"c@example.org,,MARKED-c,client\n" +
		"d@gmail.com,id-d,,1.apps.googleusercontent.com\n" +
		"e@gmail.com,id-e,MARKED-e\n" +
		"nonsense,id-f,MARKED-f,x\n" +
		`g@gmail.com,"id,MARKED` + "\n" +
		"A@gmail.com,id-a,MARKED-a,1.apps.googleusercontent.com"))
	compareReport(t, f, err, `
2: a@gmail.com via gmail map[account_id:id-a]
5: b@contoso.example via microsoft365 map[account_id:id-b]
6: c@example.org via gmail2
  neither the domain nor the client_id tells the provider: taken for google, as the predecessor did
7: account "d@gmail.com": field 'refresh_token': must not be empty
8: want email, account_id, refresh_token, client_id, and perhaps timestamp and hostname
9: field 'email': want a mail address
10: malformed CSV: quotes do not match
11: account "A@gmail.com": field 'name': duplicate of the account at line 2
note: The file has no passwords. Here each account needs one of the gateway's: nobody can log in without it.
provider google {
	client_id 1.apps.googleusercontent.com
	client_secret {file./etc/mailgateway/credentials/google.secret}
}
upstream gmail {
	auth xoauth2 google
}
provider microsoft {
	client_id 11111111-2222-3333-4444-555555555555
}
upstream microsoft365 {
	auth xoauth2 microsoft
}
provider google2 google {
	client_id client
	client_secret {file./etc/mailgateway/credentials/google2.secret}
}
upstream gmail2 gmail {
	auth xoauth2 google2
}`)
}

const emailProxyConfig = `[Server setup]
documentation = text that goes on
	[not@a.section] in an indented line

[IMAP-1993]
server_address = outlook.office365.com
server_port = 993

[SMTP-1587]
server_address = mail.acme.example
server_port = 587
starttls = True

[Account setup]

[one@contoso.example]
permission_url = https://login.microsoftonline.com/contoso.example/oauth2/v2.0/authorize
token_url = https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token
oauth2_scope = https://outlook.office365.com/IMAP.AccessAsUser.All https://outlook.office365.com/SMTP.Send offline_access
redirect_uri = http://localhost
client_id = app
client_secret = MARKED-secret
token_salt = MARKED
token_iterations = 870000
access_token = MARKED
access_token_expiry = 1700000000
refresh_token = MARKED
last_activity = 1700000000

[two@gmail.com]
token_url: https://oauth2.googleapis.com/token
oauth2_scope = https://mail.google.com/
client_id = 1.apps.googleusercontent.com
client_secret_encrypted = MARKED
local_address = x

[three@acme.example]
permission_url = https://id.acme.example/authorize
token_url = https://id.acme.example/token
oauth2_scope = smtp {env.HOME}
  offline
client_id = gate way

[app@contoso.example]
token_url = https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token
oauth2_flow = client_credentials
client_id = app
client_secret = MARKED

[@contoso.example]
client_id = app

[your.email@gmail.com]
token_url = https://oauth2.googleapis.com/token
client_id = *** your client id here ***

[five@example.com]
token_url = http://plain.example/token
client_id = x

[emailproxy]
delete_account_token_on_password_error = False
`

func TestEmailProxy(t *testing.T) {
	f, err := EmailProxy(strings.NewReader(emailProxyConfig))
	compareReport(t, f, err, `
16: one@contoso.example via microsoft365
  its token is encrypted with the mail client's password and cannot be carried over: run `+"`caddy smtp login one@contoso.example`"+` for consent
30: two@gmail.com via gmail
  option 'client_secret_encrypted': it cannot be read; take the secret from the provider's console
  there is no token yet: run `+"`caddy smtp login two@gmail.com`"+` for consent
  option 'local_address' is not carried over
37: three@acme.example via imported
  there is no token yet: run `+"`caddy smtp login three@acme.example`"+` for consent
44: app@contoso.example via microsoft3652
50: account "@contoso.example": a section for all addresses of a domain: here each account has a record of its own
53: account "your.email@gmail.com": field 'client_id': the placeholder of the sample configuration
57: account "five@example.com": field 'token_url': not an https URL
note: [SMTP-1587]: clients that use this port need a server in the `+"`smtp`"+` app that listens there, or its port
note: 1 IMAP and POP servers are not carried over: this gateway sends only
note: The file has no passwords that could be read. Here each account needs one of the gateway's: nobody can log in without it.
provider microsoft {
	tenant contoso.example
	client_id app
	client_secret {file./etc/mailgateway/credentials/microsoft.secret}
}
upstream microsoft365 {
	auth xoauth2 microsoft
}
provider google {
	client_id 1.apps.googleusercontent.com
	client_secret {file./etc/mailgateway/credentials/google.secret}
}
upstream gmail {
	auth xoauth2 google
}
provider imported generic {
	token_url https://id.acme.example/token
	auth_url https://id.acme.example/authorize
	scopes smtp ?env.HOME? offline
	client_id "gate way"
}
upstream imported {
	dial mail.acme.example:587
	auth xoauth2 imported
}
provider microsoft2 microsoft {
	tenant contoso.example
	client_id app
	client_secret {file./etc/mailgateway/credentials/microsoft2.secret}
	grant client_credentials
}
upstream microsoft3652 microsoft365 {
	auth xoauth2 microsoft2
}`)
	if _, err := EmailProxy(strings.NewReader("not a configuration\n")); err == nil {
		t.Error("anything is taken for a configuration")
	}
}

// checkForeign holds for whatever an importer is given.
func checkForeign(t *testing.T, f *Foreign, err error) {
	if err != nil {
		return
	}
	upstreams := make(map[string]bool)
	for i := range f.Providers {
		p, u := f.Providers[i].Caddyfile()
		upstreams[f.Providers[i].Upstream] = true
		for _, block := range []string{p, u} {
			if strings.Count(block, "{\n") != 1 || !strings.HasSuffix(block, "\n}\n") || strings.Contains(block, "{env.") || strings.Contains(block, "{$") {
				t.Errorf("block:\n%s", block)
			}
		}
	}
	names := make(map[string]bool)
	for _, im := range f.Accounts {
		if im.Line < 1 {
			t.Errorf("no line: %v", im)
		}
		if im.Err != nil {
			continue
		}
		if _, err := accounts.Compile(im.Record, "x"); err != nil {
			t.Errorf("bad record: %v", err)
		}
		if names[accounts.FoldName(im.Record.Name)] {
			t.Errorf("duplicate %q", im.Record.Name)
		}
		names[accounts.FoldName(im.Record.Name)] = true
		if !upstreams[im.Record.Upstream] {
			t.Errorf("no such upstream: %q", im.Record.Upstream)
		}
	}
}

func FuzzPredecessor(f *testing.F) {
	f.Add(predecessorArray)
	f.Add(`{"accounts":[{"email":"a@gmail.com","provider":"gmail","client_id":"{env.X}","refresh_token":"t"}],"_x":1}`)
	f.Add(`[{"email":"a@b","provider":"outlook","client_id":"c","refresh_token":"t","oauth_token_url":"https://login.live.com/x","rate_limiting":{"enabled":false}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Predecessor(strings.NewReader(text))
		checkForeign(t, got, err)
	})
}

func FuzzCSV(f *testing.F) {
	f.Add("email,account_id,refresh_token,client_id\na@gmail.com,i,t,c\n\"b\"@x,i,t,c,1,2\n")
	f.Add("a@b,,\"t,\"\"x\",11111111-2222-3333-4444-555555555555")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := CSV(strings.NewReader(text))
		checkForeign(t, got, err)
	})
}

func FuzzEmailProxy(f *testing.F) {
	f.Add(emailProxyConfig)
	f.Add("[a@b]\ntoken_url=https://id.example/t\nclient_id={$HOME}\n\tmore\n[SMTP-1]\nserver_address = {x}\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := EmailProxy(strings.NewReader(text))
		checkForeign(t, got, err)
	})
}

// TestCSVOfExcel holds that files as spreadsheets write them are read alike.
func TestCSVOfExcel(t *testing.T) {
	const client = "x.apps.googleusercontent.com"
	for name, text := range map[string]string{
		"commas":           "email,account_id,refresh_token,client_id\na@example.com,one,token-a," + client,
		"no heading":       "a@example.com,one,token-a," + client,
		"semicolons":       "email;account_id;refresh_token;client_id\na@example.com;one;token-a;" + client,
		"no heading, semi": "a@example.com;one;token-a;" + client,
		"tabs":             "email\taccount_id\trefresh_token\tclient_id\na@example.com\tone\ttoken-a\t" + client,
		"sep":              "sep=;\nemail;account_id;refresh_token;client_id\na@example.com;one;token-a;" + client,
		"sep, tabs":        "sep=\t\r\nemail\taccount_id\trefresh_token\tclient_id\na@example.com\tone\ttoken-a\t" + client + "\t",
		"sep, quoted":      "\ufeff\"sep=|\"\nemail|account_id|refresh_token|client_id\na@example.com|one|token-a|" + client,
		"SEP, no heading":  "SEP=;\na@example.com;one;token-a;" + client,
		"bars":             "email|account_id|refresh_token|client_id\n\n a@example.com | one|token-a|" + client,
		"hard spaces":      "email;account_id;refresh_token;client_id\n\u00a0a@example.com\u00a0;one;\u00a0token-a;" + client,
		"empty tabs":       "account_id\tname\temail\trefresh_token\tclient_id\tlast\none\t\ta@example.com\ttoken-a\t" + client + "\t",
		"another order":    "client_id,refresh_token,Account_ID,EMAIL\n" + client + ",token-a,one,a@example.com",
		"more columns":     "email,name,account_id,refresh_token,client_id,a,b,c\na@example.com,\"A, B\",one,token-a," + client + ",,,",
		"quoted":           "\"email\";\"account_id\";\"refresh_token\";\"client_id\"\n\"a@example.com\";\"one\";\"token-a\";\"" + client + "\"",
	} {
		f, err := CSV(strings.NewReader(text + "\r\n"))
		if err != nil || len(f.Accounts) != 1 || f.Accounts[0].Err != nil {
			t.Errorf("%s: %v, %+v", name, err, f)
			continue
		}
		if r := f.Accounts[0].Record; r.Name != "a@example.com" || r.RefreshToken != "token-a" || r.Labels["account_id"] != "one" || r.Upstream != "gmail" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// Nothing is lost in silence: what cannot be read is a line with its error.
	for text, want := range map[string]string{
		"m\xfcller@example.com;one;token-a;" + client: "not UTF-8 text",
		"\tone\ttoken-a\t" + client:                   "want a mail address",
		"a@example.com;one;\"token\n-a\";" + client:   "quotes do not match",
	} {
		f, err := CSV(strings.NewReader("sep=" + map[bool]string{true: "\t", false: ";"}[strings.Contains(text, "\t")] + "\n" + text + "\nb@example.com"))
		if err != nil || len(f.Accounts) < 2 || f.Accounts[0].Err == nil || !strings.Contains(f.Accounts[0].Err.Error(), want) {
			t.Errorf("%q: %v, %+v, want %s", text, err, f, want)
		}
	}
	for text, want := range map[string]string{
		"email,account_id,refresh_token,client_id\n": "only a heading",
		"email,token,client_id\na@b.c,t,c\n":         "the heading lacks the column refresh_token",
	} {
		if f, err := CSV(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %+v", text, err, f)
		}
	}
}
