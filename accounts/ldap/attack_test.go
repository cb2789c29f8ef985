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
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-ldap/ldap/v3"

	"github.com/caddymail/mailgateway/accounts"
)

// TestStartTLSStripped holds that a server which does not do StartTLS, or of which somebody
// in between says so, gets no password, the source's own neither.
func TestStartTLSStripped(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	d.kill()
	file := filepath.Join(d.dir, "slapd.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(l string) bool { return strings.HasPrefix(l, "TLS") })
	d.write("slapd.conf", strings.Join(lines, "\n"))
	d.up()
	before := d.binds(admin)
	set := d.source()
	set.StartTLS = true
	s := start(t, set)
	wantLogin(t, accountsOf(s), "ann@example.com", userPass, accounts.ErrUnavailable)
	if n := d.binds(admin) - before; n != 0 {
		t.Errorf("%d binds in the clear", n)
	}
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "STARTTLS") {
		t.Errorf("problems %v", p)
	}
}

// TestMoved holds that a session ends whose entry moved to another place, and that the
// next login finds it there.
func TestMoved(t *testing.T) {
	d := newDirectory(t)
	dn := d.person("ann", "ann@example.com")
	d.add("ou=sales,"+people, "objectClass", "organizationalUnit", "ou", "sales")
	set := d.source()
	set.Fresh = caddy.Duration(20 * time.Millisecond)
	a := accountsOf(start(t, set))
	l := wantLogin(t, a, "ann@example.com", userPass, nil)
	d.do(func(c *ldap.Conn) error {
		return c.ModifyDN(ldap.NewModifyDNRequest(dn, "uid=ann", true, "ou=sales,"+people))
	})
	until(t, "the session ended", func() bool {
		now, ok := a.Lookup("ann@example.com")
		return !ok || !l.Credential.Holds(now)
	})
	until(t, "it is found", func() bool {
		_, err := a.Authenticate(context.Background(), "ann@example.com", userPass)
		return err == nil
	})
}

// TestForms holds that names which Unicode, or a directory, takes for the same are not one
// account: whoever owns one does not log in as the other.
func TestForms(t *testing.T) {
	d := newDirectory(t)
	d.person("zo\u00e9", "zoe@example.com")
	set := d.source()
	set.Filter = "(uid={name})"
	a := accountsOf(start(t, set))
	wantLogin(t, a, "zo\u00e9", userPass, nil)
	for _, n := range []string{"zoe\u0301", "ZO\u00c9", "zo\u00e9\u200b", "\uff5ao\u00e9", " zo\u00e9", "zo\u00e9\x00"} {
		wantLogin(t, a, n, userPass, accounts.ErrBadCredentials)
	}
	for _, p := range []string{" ", "   ", "\x00\x00", "\t", "\r\n", "\u200b", "\u00a0"} {
		if _, err := a.Authenticate(context.Background(), "zo\u00e9", p); !errors.Is(err, accounts.ErrBadCredentials) {
			t.Errorf("password %q: %v", p, err)
		}
	}
}

// TestReset holds that a password which has to be changed before anything else, as an
// administrator gave it, lets nobody in before that, though OpenLDAP calls the bind a
// success: Active Directory and 389 refuse it.
func TestReset(t *testing.T) {
	d := withPolicy(t, "")
	dn := d.person("ann", "ann@example.com")
	d.set("cn=policy,"+root, "pwdMustChange", "TRUE")
	d.set(dn, "pwdReset", "TRUE")
	a := accountsOf(start(t, d.source()))
	for range 2 {
		wantLogin(t, a, "ann@example.com", userPass, accounts.ErrBadCredentials)
	}
	d.set(dn, "pwdReset")
	wantLogin(t, a, "ann@example.com", userPass, nil)
}
