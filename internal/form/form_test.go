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

package form

import (
	"errors"
	"strings"
	"testing"
)

func TestForms(t *testing.T) {
	for name, f := range map[string]Form{
		"listen": Listen, "listen, port or not": ListenHost, "dial": Dial, "hostname": Hostname, "IP": IP, "network": Network, "mailbox": Mailbox, "URL": URL, "date": Date,
		"tenant": Tenant, "client ID": ClientID, "TLS": TLSMode, "mechanism": Mechanism, "duration": Duration, "words": OneOf("auto", "data"),
	} {
		if err := f.Check(f.Example); err != nil {
			t.Errorf("%s: the example: %v", name, err)
		}
	}
	for _, tc := range []struct {
		form  Form
		right string
		wrong map[string]string // what is told of each
	}{
		{Listen, ":587|127.0.0.1:587|[::1]:587|localhost:587|tcp/:587|unix//run/mail.sock|:2500-2510|:0", map[string]string{
			"2525": "did you mean ':2525'?", "::1:2525": "did you mean '[::1]:2525'?", ":::2525": "did you mean '[::]:2525'?", "::1": "did you mean '[::1]:587'?",
			"fe80::10": "did you mean '[fe80::10]:587'?", "smtp://0.0.0.0:25": "did you mean '0.0.0.0:25'?", "gateway": "'gateway:587'", "a:25:25": "as in :587", ":70000": "65535", "[::1]25": "as in :587",
		}},
		{ListenHost, ":587|localhost|::1|fe80::10|2001:db8::25:10|[::1]:587", map[string]string{
			"2525": "did you mean ':2525'?", "::1:2525": "did you mean '[::1]:2525'?", ":::2525": "did you mean '[::]:2525'?", "smtp://:2525": "did you mean ':2525'?",
		}},
		{Dial, "a.example:25|[2001:db8::1]:587|10.0.0.1:465", map[string]string{
			"a.example": "'a.example:587'", "smtp://a.example": "did you mean 'a.example:587'?", "::1:2525": "did you mean '[::1]:2525'?", "a.example:smtps": "'a.example:587'", "a.example:0": "from 1 to 65535", ":25": "host:port",
		}},
		{IP, "192.0.2.7|2001:db8::1", map[string]string{"eth0": "name of an interface", "10.0.0.1:25": "did you mean '10.0.0.1'?", "10.0.0.1/8": "did you mean '10.0.0.1'?", "fe80::1%eth0": "without port or zone"}},
		{Network, "192.0.2.7|192.0.2.0/24|::1|2001:db8::/32", map[string]string{
			"10.0.0.*": "did you mean '10.0.0.0/24'?", "10.0.0.0/255.255.0.0": "10.0.0.0/16", "10.0.0.1,": "stands a blank", "10.0.0.01": "did you mean '10.0.0.1'?", "10.0.0.1-9": "a range is a prefix",
			"10.0.0.1:25": "it has no port", "printer.local": "not looked up", "10.0.0.0/33": "as in 192.0.2.7", "account": "as in 192.0.2.7",
		}},
		{Mailbox, "a@b.example", map[string]string{"a": "as in scanner@example.com", "<a@b.example>": "did you mean 'a@b.example'?", "Scanner <a@b.example>": "did you mean 'a@b.example'?", "mailto:a@b.example": "did you mean 'a@b.example'?"}},
		{URL, "https://a.example/x|http://127.0.0.1:8025", map[string]string{"login.example.com/x": "begins with https://", "ftp://a.example": "http or https", "https://": "http or https"}},
		{Date, "2027-12-31|2027-12-31T00:00:00Z", map[string]string{"31.12.2026": "did you mean '2026-12-31'?", "2026/12/31": "did you mean '2026-12-31'?", "soon": "as in 2027-12-31"}},
		{Tenant, "contoso.example|common|11111111-2222-3333-4444-555555555555", map[string]string{"https://login.example/x": "the directory's ID alone", "Contoso Ltd.": "the directory's ID alone"}},
		{TLSMode, "off|implicit", map[string]string{"ssl": "'implicit'", "on": "'starttls'", "startls": "did you mean 'starttls'?", "none": "'off'", "c.pem": "stand behind the mode"}},
		{Mechanism, "XOAUTH2|plain", map[string]string{"xoath2": "did you mean 'xoauth2'?", "oauth": "did you mean 'xoauth2'?", "entra": "'auth xoauth2 PROVIDER'"}},
		{Duration, "90s|1h30m|30d|1.5h", map[string]string{
			"1:30": "did you mean '1m30s', or '1h30m'?", "0:05:00": "did you mean '0h05m00s'?", "PT5M": "did you mean '5m'?", "P7D": "did you mean '7d'?", "2w": "did you mean '14d'?", "1,5h": "did you mean '1.5h'?",
			"10M": "did you mean '10m'?", "5 min": "did you mean '5m'?", "90": "'90s' are seconds", "off": "the default holds", "0": "the default holds", "-5m": "as in 90s", "five": "as in 90s", "": "as in 90s",
		}},
		{OneOf("reject", "normalize"), "reject", map[string]string{"normalise": "want reject or normalize; did you mean 'normalize'?", "REJECT": "did you mean 'reject'?", "“reject”": "did you mean 'reject'?", "fix": "want reject or normalize"}},
		{Words(map[string]string{"yes": "on"}, "on", "off"), "on|off", map[string]string{"yes": "did you mean 'on'?", "YES;": "did you mean 'on'?"}},
		{Secret, "hello|a'b|'|$ecret|{env.NAME}", map[string]string{"“geheim”": "quotes of an office program", "„geheim“": "{file./path}", "'geheim'": "take them away", `"geheim"`: "take them away"}},
		{Form{Check: Placeholder}, "{env.NAME}|{file./x}|a{b}|{$X}", map[string]string{"{geheim}": "{env.NAME}", "{11111111-2222-3333-4444-555555555555}": "did you mean '11111111-2222-3333-4444-555555555555'?"}},
	} {
		for right := range strings.SplitSeq(tc.right, "|") {
			if err := tc.form.Check(right); err != nil {
				t.Errorf("%q: %v", right, err)
			}
		}
		for wrong, words := range tc.wrong {
			if err := tc.form.Check(wrong); err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("%q: %v, want %q", wrong, err, words)
			}
		}
	}
}

func TestAmounts(t *testing.T) {
	rate := errors.New("malformed rate")
	for _, tc := range []struct {
		err   error
		words string
	}{
		{Size("25"), "did you mean '25MiB'?"}, {Size("25,5MB"), "25.5MiB"}, {Size("unlimited"), "the default holds"}, {Size("big"), "as in 25MiB"}, {Size(""), "as in 25MiB"},
		{Number("1,000", "whole number"), "did you mean '1000'?"}, {Number("50%", "number"), "give the number itself"}, {Number("many", "whole number"), "as in 100"}, {Number(".", "number"), "as in 100"},
		{Rate("30", rate), "did you mean '30/1m'?"}, {Rate("30/min", rate), "did you mean '30/1m'?"}, {Rate("30 / 5m", rate), "did you mean '30/5m'?"}, {Rate("many", rate), "as in 30/1m"},
	} {
		if !strings.Contains(tc.err.Error(), tc.words) {
			t.Errorf("%v, want %q", tc.err, tc.words)
		}
	}
	for word, want := range map[string]string{"yes": "alone turns it on", "off": "it is off", "tls1.0": "alone turns it on"} {
		if got := Switch(word); !strings.Contains(got, want) {
			t.Errorf("%s: %s", word, got)
		}
	}
}

func TestSecrets(t *testing.T) {
	for value, want := range map[string]bool{"$MS_SECRET": true, "${ms_secret}": true, "$ecret": false, "$": false, "a$MS": false, "{$MS_SECRET}": false, "{env.MS_SECRET}": false} {
		if got := ShellVariable(value); (got != "") != want || strings.Contains(got, "MS") {
			t.Errorf("%s: %q", value, got)
		}
	}
	if err := Unresolved(errors.New("unrecognized placeholder {geheim}")); strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "{env.NAME}") {
		t.Error(err)
	}
	if err := Unresolved(errors.New("unrecognized placeholder {11111111-2222-3333-4444-555555555555}")); !strings.Contains(err.Error(), "did you mean '1") {
		t.Error(err)
	}
	if err := errors.New("another"); !errors.Is(Unresolved(err), err) || Unresolved(nil) != nil {
		t.Error("another error is changed")
	}
}

func FuzzForms(f *testing.F) {
	f.Add("::1:2525")
	f.Add("1:30")
	f.Add("“")
	f.Fuzz(func(_ *testing.T, s string) {
		for _, form := range []Form{Listen, ListenHost, Dial, Hostname, IP, Network, Mailbox, URL, Date, Tenant, TLSMode, Mechanism, Duration, Secret, OneOf("a", "b")} {
			_ = form.Check(s)
		}
		_, _, _, _ = Size(s), Number(s, "number"), Rate(s, errors.New("x")), Placeholder(s)
		_ = ShellVariable(s)
	})
}
