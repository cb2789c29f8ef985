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
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-ldap/ldap/v3"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
)

// withPolicy has slapd lock entries after three wrong passwords, until they are unlocked.
func withPolicy(t *testing.T, more string) *directory {
	t.Helper()
	d := newDirectory(t)
	d.configure("moduleload ppolicy.so", "", "overlay ppolicy\nppolicy_default cn=policy,"+root+"\n"+more)
	d.add("cn=policy,"+root, "objectClass", "device", "objectClass", "pwdPolicy", "cn", "policy",
		"pwdAttribute", "userPassword", "pwdLockout", "TRUE", "pwdMaxFailure", "3", "pwdLockoutDuration", "0")
	return d
}

// TestLocked holds that a right password which is refused because the entry is locked is
// right as soon as the entry is unlocked: what it was refused for is not that it is wrong.
func TestLocked(t *testing.T) {
	for name, more := range map[string]string{"said": "ppolicy_use_lockout", "unsaid": ""} {
		t.Run(name, func(t *testing.T) {
			d := withPolicy(t, more)
			dn := d.person("ann", "ann@example.com")
			a := accountsOf(start(t, d.source()))
			for i := range 3 {
				wantLogin(t, a, "ann@example.com", fmt.Sprint("wrong-password-", i), accounts.ErrBadCredentials)
			}
			wantLogin(t, a, "ann@example.com", userPass, accounts.ErrBadCredentials)
			d.set(dn, "pwdAccountLockedTime")
			wantLogin(t, a, "ann@example.com", userPass, nil)
			was := d.binds(dn)
			wantLogin(t, a, "ann@example.com", "wrong-password-0", accounts.ErrBadCredentials)
			if n := d.binds(dn) - was; n != 0 {
				t.Errorf("a password that was wrong is tried again, %d times", n)
			}
		})
	}
}

// TestDocumentedRights holds that the manual's rules of access are enough.
func TestDocumentedRights(t *testing.T) {
	manual, err := os.ReadFile("../../docs/accounts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, ok := strings.Cut(string(manual), "\naccess to attrs=entry,")
	rules, _, _ = strings.Cut(rules, "```")
	const named = "cn=mailgateway,ou=services,dc=example,dc=com"
	if !ok || !strings.Contains(rules, named) {
		t.Fatal("the manual has no such rules")
	}
	d := withPolicy(t, "")
	dn, reader := d.person("ann", "ann@example.com"), d.person("reader", "reader@example.com")
	d.add("cn=mail,ou=groups,"+root, "objectClass", "groupOfNames", "cn", "mail", "member", dn)
	d.configure("moduleload ppolicy.so", "access to attrs=entry,"+strings.ReplaceAll(rules, named, reader)+"access to * by * none",
		"overlay ppolicy\nppolicy_default cn=policy,"+root)
	set := d.source()
	set.BindDN, set.BindPassword = reader, userPass
	set.Filter = "(&(objectClass=person)(mail={name}))"
	set.GroupBase, set.GroupFilter = "ou=groups,"+root, "(&(cn=mail)(member={dn}))"
	a := accountsOf(start(t, set))
	wantLogin(t, a, "reader@example.com", userPass, accounts.ErrBadCredentials)
	for i := range 3 {
		wantLogin(t, a, "ann@example.com", fmt.Sprint("wrong-password-", i), accounts.ErrBadCredentials)
	}
	wantLogin(t, a, "ann@example.com", userPass, accounts.ErrBadCredentials)
	d.set(dn, "pwdAccountLockedTime")
	wantLogin(t, a, "ann@example.com", userPass, nil)
}

// TestNotNow holds the same of times at which nobody may log in.
func TestNotNow(t *testing.T) {
	d := withPolicy(t, "")
	dn := d.person("ann", "ann@example.com")
	a := accountsOf(start(t, d.source()))
	for attribute, at := range map[string]string{"pwdEndTime": "20200101000000Z", "pwdStartTime": "20990101000000Z"} {
		d.set(dn, attribute, at)
		wantLogin(t, a, "ann@example.com", userPass+attribute, accounts.ErrBadCredentials)
		d.set(dn, "userPassword", userPass+attribute)
		wantLogin(t, a, "ann@example.com", userPass+attribute, accounts.ErrBadCredentials)
		d.set(dn, attribute)
		wantLogin(t, a, "ann@example.com", userPass+attribute, nil)
	}
}

// TestReasons has the words of directories that no test runs.
func TestReasons(t *testing.T) {
	windows := func(code string) error {
		return ldap.NewError(ldap.LDAPResultInvalidCredentials, errors.New("80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data "+code+", v4563"))
	}
	for _, c := range []struct {
		err  error
		want answer
	}{
		{windows("52e"), isWrong},
		{windows("525"), refused}, // no such user
		{windows("530"), refused}, // not at this time
		{windows("531"), refused}, // not from here
		{windows("532"), refused}, // the password has expired
		{windows("533"), refused}, // disabled
		{windows("701"), refused}, // the account has expired
		{windows("773"), refused}, // the password must be changed
		{windows("775"), refused}, // locked
		{ldap.NewError(ldap.LDAPResultInvalidCredentials, errors.New("NDS error: failed authentication (-669)")), isWrong},
		{ldap.NewError(ldap.LDAPResultInvalidCredentials, errors.New("NDS error: login lockout (-197)")), refused},
		{ldap.NewError(ldap.LDAPResultInvalidCredentials, errors.New("")), unknown},
	} {
		if got := reason(c.err, nil); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// guess tries so many passwords that nobody has tried, and returns how many were
// answered. The others were not looked at.
func guess(t *testing.T, a *accounts.Directory, client, name string, n int) (answered int) {
	t.Helper()
	for i := range n {
		_, err := a.Authenticate(password.WithClient(context.Background(), client), name, fmt.Sprint(client, "-guess-", i))
		switch {
		case errors.Is(err, accounts.ErrBadCredentials):
			answered++
		case !errors.Is(err, accounts.ErrOverloaded):
			t.Fatalf("a guess: %v", err)
		}
	}
	return answered
}

// TestGuesses holds that a directory is asked for few wrong passwords, however fast they
// come, as many of names that it has as of others; and that right ones go on meanwhile.
func TestGuesses(t *testing.T) {
	d := newDirectory(t)
	dn := d.person("ann", "ann@example.com")
	d.person("bob", "bob@example.com")
	set := d.source()
	set.Remember = caddy.Duration(time.Nanosecond)
	a := accountsOf(start(t, set))
	from := func(client string) context.Context { return password.WithClient(context.Background(), client) }
	if _, err := a.Authenticate(from("192.0.2.1"), "bob@example.com", userPass); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	known, unknown := guess(t, a, "192.0.2.1", "ann@example.com", 300), guess(t, a, "192.0.2.1", "nobody@example.com", 300)
	most := peerRate.burst + int(time.Since(began)/peerRate.every) + 1
	if known < peerRate.burst || known > most || unknown < peerRate.burst || unknown > most {
		t.Errorf("answered %d of a name and %d of one that nobody has, want about %d", known, unknown, peerRate.burst)
	}
	if n := d.binds(dn); n != known {
		t.Errorf("%d binds for %d answers", n, known)
	}
	// Her own device, which has never logged in, and one that has, from where the guesses come.
	if _, err := a.Authenticate(from("192.0.2.2"), "ann@example.com", userPass); err != nil {
		t.Errorf("the owner of a name whose password is guessed: %v", err)
	}
	guess(t, a, "192.0.2.3", "bob@example.com", 100)
	guess(t, a, "192.0.2.4", "bob@example.com", 100)
	guess(t, a, "192.0.2.5", "bob@example.com", 100)
	if _, err := a.Authenticate(from("192.0.2.1"), "bob@example.com", userPass); err != nil {
		t.Errorf("a password that was right the last time: %v", err)
	}
	// Of any names.
	began, known = time.Now(), 0
	for i := range 300 {
		known += guess(t, a, "192.0.2.6", fmt.Sprintf("user%d@example.com", i), 1)
	}
	if most := clientRate.burst + set.MaxConns + defaultMaxConns + int(time.Since(began)/clientRate.every) + 1; known > most {
		t.Errorf("one client had %d passwords looked at, want at most %d", known, most)
	}
}

func TestLimits(t *testing.T) {
	l := newLimits(0)
	now := time.Now()
	n := 0
	for i := range 1000 {
		if _, ok := l.take(fmt.Sprint("name", i), fmt.Sprint("client", i), now); ok {
			n++
		}
	}
	if n != totalRate.burst {
		t.Errorf("%d at once, want %d", n, totalRate.burst)
	}
	now = now.Add(time.Duration(totalRate.burst) * totalRate.every)
	for i := range 10 * nameRate.burst { // right ones
		giveBack, ok := l.take("right", "client", now)
		if !ok {
			t.Fatalf("right password %d may not be tried", i)
		}
		giveBack(now)
	}
	l = newLimits(0)
	for client, want := range map[string]int{"": nameRate.burst, "client": peerRate.burst} {
		n = 0
		for range 100 {
			if _, ok := l.take("name of "+client, client, now); ok {
				n++
			}
		}
		if n != want {
			t.Errorf("%d of one name by %q, want %d", n, client, want)
		}
	}
	l.take("name", "client", now.Add(time.Hour))
	l.take("other", "client", now.Add(2*time.Hour))
	if len(l.names) != 1 || len(l.peers) != 1 || len(l.clients) != 1 {
		t.Errorf("what has passed is kept: %d names, %d, %d clients", len(l.names), len(l.peers), len(l.clients))
	}
}

// TestSamePath holds that what comes again of a name that nobody has is answered as what
// comes again of one that somebody has.
func TestSamePath(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	names := []string{"nobody@example.com", "ann@example.com"}
	for i := range names { // the first time while the cache has no account
		set := d.source()
		set.Negative, set.CacheSize = caddy.Duration(time.Hour), 100+i
		a := accountsOf(start(t, set))
		for _, n := range names[:i+1] {
			wantLogin(t, a, n, "first-guess", accounts.ErrBadCredentials)
		}
		d.kill()
		for _, n := range names[:i+1] {
			wantLogin(t, a, n, "first-guess", accounts.ErrBadCredentials) // no question
			wantLogin(t, a, n, "second-guess", accounts.ErrOverloaded)    // and one
		}
		d.up()
	}
}
