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
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/testpki"
)

func TestEntriesBecomeAccounts(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com", "employeeType", "office", "description", "*@example.com", "description", "b@example.org", "title", "robot@example.com", "roomNumber", "3")
	d.person("least", "least@example.com")
	d.person("bad", "bad@example.com", "roomNumber", "many")
	d.add("uid=none,"+people, "objectClass", "inetOrgPerson", "uid", "none", "cn", "x", "sn", "x", "mail", "none@example.com")
	set := d.source()
	set.Attributes = map[string]string{"upstream": "employeeType", "senders": "description", "mailbox": "title", "max_conns": "roomNumber"}
	s := start(t, set)
	a := accountsOf(s)

	got, err := a.Get(context.Background(), "Ann@Example.com")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "ann@example.com" || got.Upstream != "office" || got.Mailbox != "robot@example.com" || got.Limits.MaxConns != 3 || len(got.Senders) != 2 {
		t.Errorf("%+v", got.Redacted())
	}
	if l := wantLogin(t, a, "ann@example.com", userPass, nil); !l.Credential.Holds(got) {
		t.Error("the login does not hold")
	}
	for name, password := range map[string]string{
		"ann@example.com": "not-that-password", "least@example.com": "", "none@example.com": userPass, "nobody@example.com": userPass, "ann": userPass,
	} {
		wantLogin(t, a, name, password, accounts.ErrBadCredentials)
	}
	if got, err = a.Get(context.Background(), "least@example.com"); err != nil || got.Upstream != "up" || got.Mailbox != "least@example.com" {
		t.Errorf("%v, %v", got, err)
	}
	wantLogin(t, a, "bad@example.com", userPass, accounts.ErrUnavailable)
	if p := s.Problems(); len(p) != 1 || p[0].Field != "max_conns" || !strings.Contains(p[0].Message, "attribute 'roomNumber'") {
		t.Errorf("problems %v", p)
	}
}

// TestEmptyPassword holds that no bind without a password is ever sent: this
// directory, as many, lets it pass.
func TestEmptyPassword(t *testing.T) {
	d := newDirectory(t)
	dn := d.person("ann", "ann@example.com")
	d.do(func(c *ldap.Conn) error { return c.UnauthenticatedBind(dn) }) // the trap is there
	a := accountsOf(start(t, d.source()))
	wantLogin(t, a, "ann@example.com", "", accounts.ErrBadCredentials)
	wantLogin(t, a, "ann@example.com", userPass, nil)
	wantLogin(t, a, "ann@example.com", "", accounts.ErrBadCredentials)
	wantLogin(t, a, "ann@example.com", "\x00", accounts.ErrBadCredentials)
	wantLogin(t, a, "ann@example.com", userPass+"\x00", accounts.ErrBadCredentials)
	wantLogin(t, a, "ann@example.com", userPass+" ", accounts.ErrBadCredentials)
}

// weird are names that mean something to a filter or to a DN.
var weird = []string{
	"*", "(", ")", "\\", "a*b", "a)(uid=*", "*)(objectClass=*", "a\\2ab", "a,b", "a+b", "a\"b", "a<b>", "a;b", "#a", "a=b", "a#", "ä\u00df", "\u65e5\u672c", "a,ou=people", "{name}", "{dn}", "a b",
}

func TestWeirdNames(t *testing.T) {
	d := newDirectory(t)
	for _, n := range weird {
		d.person(n, "x@example.com", "employeeType", n)
	}
	byFilter := d.source()
	byFilter.Filter = "(&(objectClass=person)(uid={name}))"
	byDN := d.source()
	byDN.Base, byDN.UserDN = "", "uid={name},"+people
	byGroup := d.source()
	byGroup.Filter, byGroup.GroupFilter = "(uid={name})", "(&(uid={name})(entryDN={dn}))"
	for how, set := range map[string]*Source{"filter": byFilter, "dn": byDN, "group": byGroup} {
		s := start(t, set)
		a := accountsOf(s)
		for _, n := range weird {
			l := wantLogin(t, a, n, userPass, nil)
			if l.Account == nil || l.Account.Name != accounts.FoldName(n) {
				t.Errorf("%s: %q is %v", how, n, l.Account)
			}
			wantLogin(t, a, n, "not-that-password", accounts.ErrBadCredentials)
		}
		// What a directory takes for the same is not the same account; what means
		// something to it means nothing here.
		for _, n := range []string{
			"a b ", " a b", "a  b", "\uff41 b", "a*", "**", "a\x00", "\xff", "(objectClass=*)", "*)(uid=*", "a\\2cb", "uid=*", "\u2028",
			strings.Repeat("a", 256), strings.Repeat("a", 300), "a\u00ad b", "A B\t",
		} {
			wantLogin(t, a, n, userPass, accounts.ErrBadCredentials)
		}
		if p := s.Problems(); len(p) != 0 {
			t.Errorf("%s: problems %v", how, p)
		}
	}
}

// TestWrongOnce holds that the same wrong password is not tried at the directory again,
// which would lock the entry, until the entry's password is another one.
func TestWrongOnce(t *testing.T) {
	d := newDirectory(t)
	dn := d.person("ann", "ann@example.com")
	set := d.source()
	set.Fresh, set.Negative = caddy.Duration(time.Millisecond), caddy.Duration(time.Hour)
	a := accountsOf(start(t, set))
	wantLogin(t, a, "ann@example.com", userPass, nil)
	wantLogin(t, a, "ann@example.com", "next-password", accounts.ErrBadCredentials)
	d.kill()
	wantLogin(t, a, "ann@example.com", "next-password", accounts.ErrBadCredentials) // no question
	wantLogin(t, a, "ann@example.com", "other-password", accounts.ErrOverloaded)    // and one
	d.up()
	d.set(dn, "userPassword", "next-password")
	until(t, "the password is the next one", func() bool {
		_, err := a.Authenticate(context.Background(), "ann@example.com", "next-password")
		return err == nil
	})
}

func TestTwoEntries(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	d.person("other", "ann@example.com")
	s := start(t, d.source())
	wantLogin(t, accountsOf(s), "ann@example.com", userPass, accounts.ErrUnavailable)
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "two entries") {
		t.Errorf("problems %v", p)
	}
}

// TestChangesEndCredentials holds that a session's credential ends with what opened
// it, without a word from the gateway's own side.
func TestChangesEndCredentials(t *testing.T) {
	d := newDirectory(t)
	names := []string{"password", "removed", "group", "disabled", "stays"}
	var members []string
	for _, n := range names {
		members = append(members, d.person(n, n+"@example.com", "employeeType", "active"))
	}
	group := "cn=mail,ou=groups," + root
	d.add(group, "objectClass", "groupOfNames", "cn", "mail", "member", members[0])
	d.set(group, "member", members...)
	outsider := d.person("outsider", "outsider@example.com", "employeeType", "active")
	set := d.source()
	set.Fresh = caddy.Duration(20 * time.Millisecond)
	set.GroupBase, set.GroupFilter = "ou=groups,"+root, "(&(cn=mail)(member={dn}))"
	set.Filter = "(&(employeeType=active)(mail={name}))"
	a := accountsOf(start(t, set))

	wantLogin(t, a, "outsider@example.com", userPass, accounts.ErrBadCredentials)
	logins := make(map[string]accounts.Login)
	for _, n := range names {
		logins[n] = wantLogin(t, a, n+"@example.com", userPass, nil)
	}
	if t.Failed() {
		t.FailNow()
	}
	holds := func(n string) bool {
		now, ok := a.Lookup(n + "@example.com")
		return ok && logins[n].Credential.Holds(now)
	}
	d.set(members[0], "userPassword", "another")
	d.do(func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(members[1], nil)) })
	d.set(group, "member", members[0], members[1], members[3], members[4])
	d.set(members[3], "employeeType", "gone")
	for _, n := range names[:4] {
		until(t, n+" ended", func() bool { return !holds(n) })
	}
	wantLogin(t, a, "password@example.com", userPass, accounts.ErrBadCredentials)
	wantLogin(t, a, "password@example.com", "another", nil)
	for _, n := range names[1:4] {
		wantLogin(t, a, n+"@example.com", userPass, accounts.ErrBadCredentials)
	}
	if !holds("stays") {
		t.Error("an account of which nothing changed has lost its session")
	}
	d.set(group, "member", append(members, outsider)...)
	until(t, "outsider joined", func() bool {
		_, err := a.Authenticate(context.Background(), "outsider@example.com", userPass)
		return err == nil
	})
}

// TestKilled holds that a directory that is away is never a wrong password.
func TestKilled(t *testing.T) {
	d := newDirectory(t)
	const n = 8
	for i := range n {
		d.person(string(rune('a'+i)), string(rune('a'+i))+"@example.com")
	}
	set := d.source()
	set.Remember = caddy.Duration(time.Nanosecond) // each login is a bind
	a := accountsOf(start(t, set))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	good, bad := 0, 0
	for i := range n {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := a.Authenticate(context.Background(), string(rune('a'+i))+"@example.com", userPass)
				mu.Lock()
				switch {
				case err == nil:
					good++
				case errors.Is(err, accounts.ErrOverloaded):
					bad++
				default:
					t.Errorf("login: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	count := func(p *int) int {
		mu.Lock()
		defer mu.Unlock()
		return *p
	}
	for range 3 {
		was := count(&good)
		until(t, "logins", func() bool { return count(&good) > was+2*n })
		was = count(&bad)
		d.kill()
		until(t, "refusals", func() bool { return count(&bad) > was+2*n })
		d.up()
	}
	was := count(&good)
	until(t, "logins again", func() bool { return count(&good) > was+2*n })
	close(stop)
	wg.Wait()
	// The directory is away: what was right a moment ago is remembered by those
	// that remember, and nothing is known of the others.
	d.kill()
	wantLogin(t, a, "a@example.com", "not-that-password", accounts.ErrOverloaded)
	wantLogin(t, a, "unknown@example.com", userPass, accounts.ErrUnavailable)
}

// TestAwayIsNamed holds that a server that is not asked because it did not answer a moment
// ago is named all the same, with what happened.
func TestAwayIsNamed(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	s := start(t, d.source())
	a := accountsOf(s)
	wantLogin(t, a, "ann@example.com", userPass, nil)
	d.kill()
	wantLogin(t, a, "ann@example.com", "not-that-password", accounts.ErrOverloaded) // now it rests
	for _, n := range []string{"bob@example.com", "eve@example.com"} {
		// What the start's own question met may be remembered first.
		until(t, "the server and what happened to it", func() bool {
			_, err := a.Get(t.Context(), n)
			return err != nil && strings.Contains(err.Error(), "ldap://"+d.addr) && strings.Contains(err.Error(), "a moment ago: ")
		})
	}
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Message, "ldap://"+d.addr) {
		t.Errorf("problems %v", p)
	}
}

func TestRemembered(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	a := accountsOf(start(t, d.source()))
	wantLogin(t, a, "ann@example.com", userPass, nil)
	d.kill()
	wantLogin(t, a, "ann@example.com", userPass, nil)
	wantLogin(t, a, "ann@example.com", "not-that-password", accounts.ErrOverloaded)
}

// twoServers returns two servers with the same entry, and a source that asks them each
// time.
func twoServers(t *testing.T) (one, two *directory, set *Source) {
	one, two = newDirectory(t), newDirectory(t)
	for _, d := range []*directory{one, two} {
		d.person("ann", "ann@example.com")
	}
	set = one.source()
	set.Servers = append(set.Servers, "ldap://"+two.addr)
	set.Remember = caddy.Duration(time.Nanosecond)
	return one, two, set
}

func TestFailover(t *testing.T) {
	one, two, set := twoServers(t)
	a := accountsOf(start(t, set))
	wantLogin(t, a, "ann@example.com", userPass, nil)
	one.kill()
	for range 5 {
		wantLogin(t, a, "ann@example.com", userPass, nil)
	}
	one.up()
	two.kill()
	until(t, "the first again", func() bool {
		_, err := a.Authenticate(context.Background(), "ann@example.com", userPass)
		return err == nil
	})
}

func TestTLS(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	_, port, _ := strings.Cut(d.tls, ":")
	for _, c := range []struct {
		name, url string
		starttls  bool
		roots     *testpki.Authority
		want      error
	}{
		{"ldaps", "ldaps://" + d.tls, false, d.ca, nil},
		{"ldaps by name", "ldaps://localhost:" + port, false, d.ca, nil},
		{"starttls", "ldap://" + d.addr, true, d.ca, nil},
		{"ldaps, wrong authority", "ldaps://" + d.tls, false, testpki.NewAuthority("other"), accounts.ErrUnavailable},
		{"starttls, wrong authority", "ldap://" + d.addr, true, testpki.NewAuthority("other"), accounts.ErrUnavailable},
		{"ldaps, wrong host", "ldaps://127.0.0.2:" + port, false, d.ca, accounts.ErrUnavailable},
		{"tls to a port without", "ldaps://" + d.addr, false, d.ca, accounts.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := d.source()
			set.Servers, set.StartTLS, set.roots = []string{c.url}, c.starttls, c.roots.Pool()
			s := start(t, set)
			wantLogin(t, accountsOf(s), "ann@example.com", userPass, c.want)
			if c.want != nil && len(s.Problems()) == 0 {
				t.Error("no problem is told")
			}
		})
	}
}

// TestTrustPoolOfReload holds that a file of certificates that changed counts from the
// reload on, though the configuration's text is the same.
func TestTrustPoolOfReload(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	file := filepath.Join(d.dir, "trusted.pem")
	load := func(ca *testpki.Authority) *Source {
		from, err := ca.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(from, file); err != nil {
			t.Fatal(err)
		}
		s := d.source()
		s.Servers, s.TrustPoolRaw = []string{"ldaps://" + d.tls}, json.RawMessage(`{"provider": "file", "pem_files": ["`+file+`"]}`)
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		t.Cleanup(cancel)
		if err := s.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Stop()
			_ = s.Cleanup()
		})
		return s
	}
	before := load(testpki.NewAuthority("directory"))
	wantLogin(t, accountsOf(before), "ann@example.com", userPass, accounts.ErrUnavailable)
	after := load(d.ca)
	wantLogin(t, accountsOf(after), "ann@example.com", userPass, nil)
	if same := load(d.ca); same.Index() != after.Index() {
		t.Error("a reload that changed nothing lost what was held")
	}
}

// TestBadBindBacksOff holds that a directory which refuses the source's own user is not
// asked again and again, by however many: it would lock the user out.
func TestBadBindBacksOff(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	reader := d.person("reader", "reader@example.com")
	set := d.source()
	set.BindDN, set.BindPassword = reader, "next-password"
	s := start(t, set)
	until(t, "the problem", func() bool { return len(s.Problems()) == 1 })
	if p := s.Problems()[0].Message; !strings.Contains(p, "field 'bind_password'") || !strings.Contains(p, reader) || strings.Contains(p, set.BindPassword) {
		t.Errorf("problem: %s", p)
	}
	own := *set
	if err := own.complete(); err != nil {
		t.Fatal(err)
	}
	r, err := own.reader(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer r.pool.close()
	before := d.binds(reader)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 5 {
				if _, err := r.Read(t.Context(), []string{"ann@example.com", "bob@example.com"}); err == nil || !strings.Contains(err.Error(), "field 'bind_password'") {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := d.binds(reader) - before; n != 1 {
		t.Errorf("the refused user was tried %d times", n)
	}
	d.set(reader, "userPassword", "next-password")
	until(t, "it is let in after a reload", func() bool {
		_ = s.Reload(t.Context())
		_, err := accountsOf(s).Authenticate(t.Context(), "ann@example.com", userPass)
		return err == nil
	})
}

func TestBadBind(t *testing.T) {
	d := newDirectory(t)
	d.person("ann", "ann@example.com")
	set := d.source()
	set.BindPassword = "not-that-one"
	s := start(t, set)
	_, err := accountsOf(s).Authenticate(context.Background(), "ann@example.com", userPass)
	if !errors.Is(err, accounts.ErrUnavailable) || !strings.Contains(err.Error(), "bind as '"+admin+"'") || strings.Contains(err.Error(), "not-that-one") {
		t.Errorf("%v", err)
	}
	until(t, "the problem", func() bool { return len(s.Problems()) == 1 })
	other := d.source()
	other.Base = "ou=nowhere," + root
	_, err = accountsOf(start(t, other)).Authenticate(context.Background(), "ann@example.com", userPass)
	if !errors.Is(err, accounts.ErrUnavailable) || !strings.Contains(err.Error(), "field 'base'") {
		t.Errorf("%v", err)
	}
}
