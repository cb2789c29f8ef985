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

	"github.com/go-ldap/ldap/v3"

	"github.com/caddymail/mailgateway/accounts"
)

// TestSizeLimit holds that a directory's own limit does not make one entry of two.
func TestSizeLimit(t *testing.T) {
	d := newDirectory(t)
	reader := d.person("reader", "reader@example.com")
	group := func(name string, members ...string) {
		dn := "cn=" + name + ",ou=groups," + root
		d.add(dn, "objectClass", "groupOfNames", "cn", name, "member", members[0])
		d.set(dn, "member", members...)
	}
	ann := d.person("ann", "ann@example.com")
	group("mail", ann, reader)
	group("more", ann)
	d.person("first", "both@example.com")
	d.person("second", "both@example.com")
	d.configure("", "", "sizelimit 1")
	set := d.source()
	set.BindDN, set.BindPassword = reader, userPass // the administrator has no limits
	s := start(t, set)
	a := accountsOf(s)
	wantLogin(t, a, "reader@example.com", userPass, nil)
	wantLogin(t, a, "both@example.com", userPass, accounts.ErrUnavailable)
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "two entries") {
		t.Errorf("problems %v", p)
	}
	// In a group, and in another one besides.
	set = d.source()
	set.BindDN, set.BindPassword = reader, userPass
	set.GroupBase, set.GroupFilter = "ou=groups,"+root, "(member={dn})"
	a = accountsOf(start(t, set))
	wantLogin(t, a, "ann@example.com", userPass, nil)
	wantLogin(t, a, "first@example.com", userPass, accounts.ErrBadCredentials)
}

// TestReferralOfOneEntry holds that an entry which is on another server is that name's
// problem, and not the source's.
func TestReferralOfOneEntry(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	d.add("uid=moved,"+people, "objectClass", "referral", "objectClass", "extensibleObject", "uid", "moved", "ref", "ldap://127.0.0.1:1/uid=moved,"+people)
	set := d.source()
	set.Base, set.UserDN = "", "uid={name},"+people
	s := start(t, set)
	a := accountsOf(s)
	wantLogin(t, a, "moved", userPass, accounts.ErrUnavailable)
	wantLogin(t, a, "ann", userPass, nil)
	wantLogin(t, a, "nobody", userPass, accounts.ErrBadCredentials)
	if p := s.Problems(); len(p) != 1 || p[0].Account != "moved" || !strings.Contains(p[0].Message, "refers to another server") {
		t.Errorf("problems %v", p)
	}
}

// TestOtherNamesOfAttributes holds that a filter and a mapping may name an attribute as
// the directory lets them: by an alias, a number, in any case, by what it is a kind of.
func TestOtherNamesOfAttributes(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com", "title", "robot@example.com")
	d.person("bob", "bob@example.com", "mail;lang-en", "bobby@example.com")
	d.person("other", "other@example.com", "givenName", "given")
	// The entry has what is a kind of the filter's attribute: nobody is let in by it
	// whose name it is not exactly.
	for filter, names := range map[string][]string{
		"(userid={name})":                    {"ann"},
		"(UserID={name})":                    {"ann"},
		"(0.9.2342.19200300.100.1.1={name})": {"ann"},
		"(UID={name})":                       {"ann"},
		"(rfc822Mailbox={name})":             {"ann@example.com", "bobby@example.com"},
		"(mail={name})":                      {"ann@example.com", "bobby@example.com"},
		"(mail;lang-en={name})":              {"bobby@example.com"},
		"(MAIL;Lang-EN={name})":              {"bobby@example.com"},
		"(name={name})":                      {"given"},
		"(|(mail={name})(userid={name}))":    {"ann", "ann@example.com"},
	} {
		set := d.source()
		set.Filter = filter
		set.Attributes = map[string]string{"mailbox": "2.5.4.12"} // title
		s := start(t, set)
		a := accountsOf(s)
		for _, n := range names {
			l := wantLogin(t, a, n, userPass, nil)
			if l.Account != nil && strings.HasPrefix(n, "ann") && l.Account.Mailbox != "robot@example.com" {
				t.Errorf("%s: mailbox %q", filter, l.Account.Mailbox)
			}
			wantLogin(t, a, n, "not-that-password", accounts.ErrBadCredentials)
			wantLogin(t, a, n+" ", userPass, accounts.ErrBadCredentials)
		}
		if p := s.Problems(); len(p) != 0 {
			t.Errorf("%s: problems %v", filter, p)
		}
	}
}

// TestHiddenAttribute holds that a filter which compares what the source's user may
// search for and not see is told.
func TestHiddenAttribute(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com", "employeeNumber", "7")
	reader := d.person("reader", "reader@example.com")
	d.configure("", "access to attrs=employeeNumber by * search", "")
	set := d.source()
	set.BindDN, set.BindPassword, set.Filter = reader, userPass, "(employeeNumber={name})"
	s := start(t, set)
	a := accountsOf(s)
	wantLogin(t, a, "8", userPass, accounts.ErrBadCredentials)
	wantLogin(t, a, "7", userPass, accounts.ErrUnavailable)
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "employeeNumber") {
		t.Errorf("problems %v", p)
	}
}

func TestIsOne(t *testing.T) {
	for _, c := range []struct {
		shown, asked string
		want         bool
	}{
		{"mail", "mail", true},
		{"MAIL", "mail", true},
		{"mail;lang-en", "mail", true},
		{"mail;x-a;Lang-EN", "mail;lang-en", true},
		{"mail", "mail;lang-en", false},
		{"mailbox", "mail", false},
	} {
		if got := isOne(c.shown, c.asked); got != c.want {
			t.Errorf("%s as %s: %v", c.shown, c.asked, got)
		}
	}
	e := &ldap.Entry{Attributes: []*ldap.EntryAttribute{ldap.NewEntryAttribute("mail", []string{"a"}), ldap.NewEntryAttribute("mail;lang-en", []string{"b"})}}
	if got := newNames().own(e, "mail"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
