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

package caddymodule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/caddymodule/logbuffer"
	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

// blocks are the tables of options, and the Caddyfile around a line of each.
var blocks = []struct {
	what, before, after string
	opts                options
}{
	{"oauth_tokens", "oauth_tokens {", "}", oauthTokensOptions(new(oauthtoken.App))},
	{"provider", "oauth_tokens {\nprovider p {", "}\n}", providerOptions(new(authserver.Provider))},
	{"smtp_upstreams", "smtp_upstreams {", "}", smtpUpstreamsOptions(new(upstreamapp.App))},
	{"upstream", "smtp_upstreams {\nupstream u {", "}\n}", upstreamOptions(new(upstreampool.SMTPTransport))},
	{"smtp", "smtp {", "}", smtpOptions(new(smtpapp.App))},
	{"tracing", "smtp {\ntracing {", "}\n}", tracingOptions(new(smtpapp.Tracing))},
	{"server", "smtp {\nserver s {", "}\n}", serverOptions(new(smtpapp.Server), new(bool))},
	{"tls", "smtp {\nserver s {\ntls {", "}\n}\n}", serverTLSOptions(new(smtpapp.TLS))},
	{"account", "smtp {\naccounts {\naccount a {", "UPSTREAM}\n}\n}", accountOptions(new(accounts.Record))},
	{"limits", "smtp {\naccounts {\naccount a {\nlimits {", "}\nUPSTREAM}\n}\n}", limitsOptions(new(accounts.Limits))},
	{"buffered log writer", "log {\noutput buffered {\noutput discard", "}\n}", bufferedLogOptions(new(logbuffer.Writer))},
	{"smtp_sandbox", "smtp_sandbox {", "}", sandboxOptions(new(sandbox.App))},
	{"fault", "smtp_sandbox {\nfault rcpt reply {", "}\n}", faultOptions(new(sandbox.Fault))},
}

// words are values, one of which every option takes.
var words = []string{"", "7", "7m", "7/7m", "10.0.0.1", "{env.VALUE}", "key value"}

// TestEveryOption holds that each option that takes words names itself when it
// is repeated, has too many words, has no word, or has a block.
func TestEveryOption(t *testing.T) {
	for _, b := range blocks {
		for name, opt := range b.opts {
			if opt.args == nil {
				continue // its own fixtures say
			}
			t.Run(b.what+"/"+name, func(t *testing.T) {
				// An account names its upstream, whatever else it says.
				after := strings.ReplaceAll(b.after, "UPSTREAM", map[bool]string{true: "", false: "upstream u\n"}[name == "upstream"])
				run := func(line string) error {
					_, err := adapt(t, "{\n"+b.before+"\n"+line+"\n"+after+"\n}\n")
					return err
				}
				var line string
				for _, w := range words {
					if line = strings.TrimSpace(name + " " + w); run(line) == nil {
						break
					}
					line = ""
				}
				if line == "" {
					t.Fatal("no line with this option adapts")
				}
				if !opt.many {
					wantError(t, run(line+"\n"+line), fmt.Sprintf("duplicate %s option '%s'", b.what, name))
				}
				malformed := fmt.Sprintf("malformed %s option '%s': ", b.what, name)
				wantError(t, run(line+" {\nx\n}"), malformed+"blocks are not supported")
				if line != name {
					wantRemedy(t, run(name), malformed)
				}
				if !opt.many {
					wantRemedy(t, run(line+" x y z"), malformed)
				}
				if err := run(name + " <'"); err != nil {
					wantRemedy(t, err, malformed)
				}
			})
		}
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", want)
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
}

// wantRemedy holds an error to say what is right, too.
func wantRemedy(t *testing.T, err error, want string) {
	t.Helper()
	wantError(t, err, want)
	if err != nil && !slices.ContainsFunc([]string{"the form is '", "as in ", "did you mean ", "stands in quotes", "turns it on", "without this line", "want ", "; there "}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
		t.Errorf("no remedy: %v", err)
	}
}

// TestForms holds that each form that errors show is right.
func TestForms(t *testing.T) {
	around := map[string][2]string{
		"accounts":      {"smtp {\naccounts {", "}\n}"},
		"accounts sql":  {"smtp {\naccounts {\nsql postgres://db/mail {", "}\n}\n}"},
		"accounts ldap": {"smtp {\naccounts {\nldap ldaps://dc1.example.com {", "}\n}\n}"},
		"smtp_notify":   {"events {\non smtp_account smtp_notify {", "}\n}"},
		// Those that many blocks have.
		"encryption_key": {"smtp {\naccounts {\ndynamic {", "}\n}\n}"},
		"trust_pool":     {"oauth_tokens {\nprovider p {", "}\n}"},
		"network_proxy":  {"oauth_tokens {\nprovider p {", "}\n}"},
		// The upstream's, not the server's.
		"tls": {"smtp_upstreams {\nupstream u {\ntls starttls {", "}\n}\n}"},
	}
	for _, b := range blocks {
		if _, ok := around[b.what]; !ok {
			around[b.what] = [2]string{b.before, strings.ReplaceAll(b.after, "UPSTREAM", "upstream u\n")}
		}
	}
	names, all := wording.All()
	for i, name := range names {
		block := name
		if j := strings.LastIndexByte(name, ' '); j > 0 {
			block = name[:j]
		}
		frame, ok := around[block]
		if !ok {
			t.Errorf("%s: no block", name)
			continue
		}
		if _, err := adapt(t, "{\n"+frame[0]+"\n"+all[i]+"\n"+frame[1]+"\n}\n"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
