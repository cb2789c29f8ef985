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
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestPowerMTA reads what PowerMTA's configurations are made of: blocks in blocks, values
// in quotes, words in any case, and much that means nothing here.
func TestPowerMTA(t *testing.T) {
	f, err := PowerMTA(strings.NewReader("\ufeff# a comment\r\nadmin-port 8080\nInclude /etc/pmta/more\n" +
		"<smtp-user client>\n password MARKED0\n</smtp-user>\n" +
		"<virtual-mta one>\n smtp-source-host 192.0.2.1 mail.example.com\n <domain *>\n" +
		"  Route [smtp.gmail.com]:587\n  AUTH-USERNAME one@gmail.com\n  auth-password \"MARKED 1 # x\"\n  use-starttls yes\n  max-smtp-out 3\n  max-msg-rate 30/m\n </domain>\n" +
		" <domain example.org>\n  auth-username one@gmail.com\n  auth-password \"MARKED 1 # x\"\n  route [smtp.gmail.com]:587\n </domain>\n</virtual-mta>\n" +
		"<virtual-mta two>\n route relay.acme.example:465\n <domain gmail.com>\n  auth-username two@acme.example\n  auth-password MARKED2\n  max-msg-rate 2000/d\n </domain>\n</Virtual-MTA>\n" +
		"<domain contoso.example>\n auth-username three@contoso.example\n auth-password MARKED3\n smtp-hosts smtp.office365.com\n smtp-port 587\n</domain>\n" +
		"<domain nowhere.example>\n auth-username four@gmail.com\n auth-password MARKED4\n max-smtp-out many\n max-msg-rate unlimited\n</domain>\n" +
		"<domain half.example>\n auth-username five@acme.example\n</domain>\n" +
		"</source>\n<domain other.example>\n auth-username two@acme.example\n auth-password MARKED5\n smtp-hosts [mail.acme.example]\n smtp-port 2525\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range f.Accounts {
		limits, err := json.Marshal(a.Record.Limits)
		if err != nil {
			t.Fatal(err)
		}
		r := a.Record
		got = append(got, fmt.Sprintf("%d %s %s %s %s %v %v", a.Line, r.Name, r.Secret, r.Upstream, r.Labels["virtual_mta"], string(limits), a.Err))
	}
	want := []string{
		`11 one@gmail.com MARKED 1 # x gmail one {"max_conns":3,"rate":"30/1m"} <nil>`,
		`26 two@acme.example MARKED2 imported two {"messages":"2000/24h"} <nil>`,
		`32 three@contoso.example  microsoft365  null <nil>`,
		`38 four@gmail.com MARKED4 gmail  null <nil>`,
		`44     null want auth-username and auth-password, each with a value`,
		`48     null account "two@acme.example": field 'name': duplicate of the account at line 26`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var advice, notes string
	for i := range f.Providers {
		advice += f.Providers[i].Advice()
	}
	notes = strings.Join(f.Notes, "\n")
	for _, a := range f.Accounts {
		notes += strings.Join(a.Notes, "\n")
	}
	for _, want := range []string{
		"line 3: the included file is not read", "nothing is open that </source> could close", "<domain> is not closed",
		"smtp-source-host is not carried over", "max-smtp-out is not carried over", "no `route` leads anywhere", "Microsoft takes no passwords", "relay.acme.example:465",
	} {
		if !strings.Contains(notes+advice, want) {
			t.Errorf("nothing says %q:\n%s\n%s", want, notes, advice)
		}
	}
	if strings.Contains(notes+advice, "MARKED") {
		t.Errorf("a password is told: %s\n%s", notes, advice)
	}
	for _, text := range []string{"", "<domain *>\nroute a\n</domain>\n", "password x\n"} {
		if _, err := PowerMTA(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "auth-username") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzPowerMTA(f *testing.F) {
	f.Add("<virtual-mta a>\n<domain *>\nroute [smtp.gmail.com]:587\nauth-username a@b.c\nauth-password \"p q\"\nmax-msg-rate 30/m\n</domain>\n</virtual-mta>\n")
	f.Add("<a\n</b>\nauth-username x\nauth-password {y}\nsmtp-hosts ::1,b\nsmtp-port {\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := PowerMTA(strings.NewReader(text))
		checkForeign(t, got, err)
	})
}

func FuzzPostfix(f *testing.F) {
	f.Add("[smtp.gmail.com]:587 a@gmail.com:p q\n\"x y\" a:b:c\n  goes on\n# no\nb@c d:e\n")
	f.Add("\"\\\" a:b\n::1 a:{b}\n[ a:b\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Postfix(strings.NewReader(text))
		checkForeign(t, got, err)
	})
}
