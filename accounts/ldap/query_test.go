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

package ldap

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"
)

// FuzzQuery holds that no name changes the shape of a filter or of a DN, and that
// it arrives as it was.
func FuzzQuery(f *testing.F) {
	for _, n := range append(weird, "a b ", " a", "a\x00b", "\xff", "") {
		f.Add(n, "uid="+n)
	}
	const template = "(|(&(objectClass=person)(mail={name}))(member={dn})(proxy=smtp:{name}))"
	flt, err := parseFilter(template, nameMark, dnMark)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, dn string) {
		p, err := ldap.CompileFilter(flt.with(name, dn))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(p.Children) != 3 || len(p.Children[0].Children) != 2 {
			t.Fatalf("%q: another shape", name)
		}
		for i, c := range []struct {
			leaf []string
			want string
		}{{nil, name}, {nil, dn}, {nil, "smtp:" + name}} {
			leaf := p.Children[i]
			if i == 0 {
				leaf = leaf.Children[1]
			}
			if leaf.Tag != ldap.FilterEqualityMatch && c.want != "" {
				t.Fatalf("%q: no longer compared as a whole", name)
			}
			if leaf.Tag == ldap.FilterEqualityMatch && leaf.Children[1].Data.String() != c.want {
				t.Fatalf("%q: compared is %q", c.want, leaf.Children[1].Data.String())
			}
		}
		if name == "" || strings.Contains(name, "\x00") || !utf8.ValidString(name) {
			return // no name of an account
		}
		parsed, err := ldap.ParseDN(dnWith("uid={name},ou=people", name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(parsed.RDNs) != 2 || len(parsed.RDNs[0].Attributes) != 1 || parsed.RDNs[0].Attributes[0].Value != name {
			t.Fatalf("%q: the DN is %v", name, parsed)
		}
	})
}

func TestMistakes(t *testing.T) {
	good := func() *Source {
		return &Source{Servers: []string{"ldaps://dc1.example.com"}, Base: "dc=example", Upstream: "up"}
	}
	for want, change := range map[string]func(*Source){
		"field 'servers': must not be empty":                                   func(s *Source) { s.Servers = nil },
		"field 'servers': 'ldap://dc1' would get":                              func(s *Source) { s.Servers = []string{"ldap://dc1"} },
		"field 'servers': 'http://dc1' does not begin":                         func(s *Source) { s.Servers = []string{"http://dc1"} },
		"field 'servers': 'ldaps://dc1/dc=x' has more":                         func(s *Source) { s.Servers = []string{"ldaps://dc1/dc=x"} },
		"field 'servers': 'ldaps://' names no host":                            func(s *Source) { s.Servers = []string{"ldaps://"} },
		"field 'servers': 'ldapi://' has no path":                              func(s *Source) { s.Servers = []string{"ldapi://"} },
		"field 'bind_dn': there is a password":                                 func(s *Source) { s.BindPassword = "hidden" },
		"field 'bind_password': must not be empty":                             func(s *Source) { s.BindDN = "cn=a" },
		"field 'base': 'nonsense' is no DN":                                    func(s *Source) { s.Base = "nonsense" },
		"field 'base': must not be empty":                                      func(s *Source) { s.Base = "" },
		"field 'scope': unrecognized value 'all'":                              func(s *Source) { s.Scope = "all" },
		"field 'scope': user_dn names":                                         func(s *Source) { s.UserDN, s.Scope = "uid={name}", "one" },
		"field 'user_dn': 'uid=x': it needs {name} once":                       func(s *Source) { s.UserDN = "uid=x" },
		"field 'filter': '(mail=x)': it needs {name}":                          func(s *Source) { s.Filter = "(mail=x)" },
		"field 'filter': '(mail': it is no filter":                             func(s *Source) { s.Filter = "(mail" },
		"(mail={name}*)': {name} may only be compared":                         func(s *Source) { s.Filter = "(mail={name}*)" },
		"(!(mail={name}))': {name} may neither":                                func(s *Source) { s.Filter = "(!(mail={name}))" },
		"(mail={dn})': it needs {name}":                                        func(s *Source) { s.Filter = "(mail={dn})" },
		"field 'group_filter': must not be empty":                              func(s *Source) { s.GroupBase = "dc=x" },
		"field 'group_filter': '(cn=mail)': it needs {dn}":                     func(s *Source) { s.GroupFilter = "(cn=mail)" },
		"field 'attributes': no attribute can be the 'mailboks' of an account": func(s *Source) { s.Attributes = map[string]string{"mailboks": "mail"} },
		"no attribute can be the 'password_hashes'":                            func(s *Source) { s.Attributes = map[string]string{"password_hashes": "userPassword"} },
		"field 'attributes.mailbox': 'a b' is no":                              func(s *Source) { s.Attributes = map[string]string{"mailbox": "a b"} },
		"field 'attributes.active': there is":                                  func(s *Source) { s.Attributes = map[string]string{"active": "a", "paused": "b"} },
		"field 'changed': '*' is no":                                           func(s *Source) { s.Changed = []string{"*"} },
		"field 'upstream': accounts have none":                                 func(s *Source) { s.Upstream = "" },
		"field 'timeout': must not be negative":                                func(s *Source) { s.Timeout = -1 },
		"field 'cache_size': must not be negative":                             func(s *Source) { s.CacheSize = -1 },
		"field 'max_conns': must not be negative":                              func(s *Source) { s.MaxConns = -1 },
		"field 'stale': 1s is shorter":                                         func(s *Source) { s.Stale = caddy.Duration(time.Second) },
	} {
		s := good()
		change(s)
		err := s.provision(zap.NewNop())
		if err == nil {
			_ = s.Cleanup()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, url := range []string{"ldap://127.0.0.1", "ldap://localhost:1389", "ldaps://[::1]", "ldapi:///run/slapd/ldapi"} {
		s := good()
		s.Servers = []string{url}
		if err := s.provision(zap.NewNop()); err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	}
}
