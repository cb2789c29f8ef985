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
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	root       = "dc=example,dc=com"
	people     = "ou=people," + root
	admin      = "cn=admin," + root
	adminPass  = "admin-password"
	userPass   = "user-password"
	configText = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb.so
pidfile %[1]s/pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
allow bind_anon_cred bind_anon_dn
%[2]s
database mdb
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
rootpw admin-password
directory %[1]s/db
dbnosync
access to attrs=userPassword by anonymous auth by * none
%[3]s
access to * by * read
%[4]s
`
)

// directory is slapd, of the test's own.
type directory struct {
	tb    testing.TB
	dir   string
	addr  string // plain and StartTLS
	tls   string
	ca    *testpki.Authority
	slapd *exec.Cmd
	ended chan struct{}
}

func newDirectory(tb testing.TB) *directory {
	tb.Helper()
	slapd, err := exec.LookPath("slapd")
	if err != nil {
		if slapd = "/usr/sbin/slapd"; !exists(slapd) {
			if os.Getenv("MAILGATEWAY_INTEROP") != "" {
				tb.Fatal("slapd is missing: apt-get install slapd")
			}
			tb.Skip("slapd is not installed")
		}
	}
	d := &directory{tb: tb, dir: tb.TempDir(), ca: testpki.NewAuthority("directory")}
	for _, p := range []*string{&d.addr, &d.tls} {
		if *p, err = freeport.Loopback(); err != nil {
			tb.Fatal(err)
		}
	}
	cert, key := testpki.PEM(d.ca.Issue(testpki.Leaf{Names: []string{"localhost", "127.0.0.1"}}))
	d.write("cert.pem", string(cert))
	d.write("key.pem", string(key))
	if _, err := d.ca.Write(d.dir); err != nil {
		tb.Fatal(err)
	}
	d.write("slapd.conf", fmt.Sprintf(configText, d.dir, "", "", ""))
	if err := os.Mkdir(filepath.Join(d.dir, "db"), 0o700); err != nil {
		tb.Fatal(err)
	}
	d.slapd = exec.Command(slapd)
	d.up()
	tb.Cleanup(d.kill)
	d.add(root, "objectClass", "dcObject", "objectClass", "organization", "o", "example", "dc", "example")
	for _, ou := range []string{"people", "groups"} {
		d.add("ou="+ou+","+root, "objectClass", "organizationalUnit", "ou", ou)
	}
	return d
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (d *directory) write(name, text string) {
	d.tb.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.tb.Fatal(err)
	}
}

// up runs slapd and waits until it answers.
func (d *directory) up() {
	d.tb.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer log.Close()                                                                                                                       //nolint:errcheck // slapd has it
	d.slapd = exec.Command(d.slapd.Path, "-d", "stats", "-f", filepath.Join(d.dir, "slapd.conf"), "-h", "ldap://"+d.addr+" ldaps://"+d.tls) //nolint:gosec // a test's
	d.slapd.Stdout, d.slapd.Stderr = log, log
	dieWithUs(d.slapd)
	if err := d.slapd.Start(); err != nil {
		d.tb.Fatal(err)
	}
	d.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(d.slapd, d.ended)
	until(d.tb, "slapd answers", func() bool {
		select {
		case <-d.ended:
			text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
			d.tb.Fatalf("slapd ended: %s", text)
		default:
		}
		c, err := net.Dial("tcp", d.tls)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// kill ends slapd as a crash does.
func (d *directory) kill() {
	_ = d.slapd.Process.Kill()
	<-d.ended
}

// configure has slapd run with more of a configuration: before the database, in front
// of its rules of access, and behind them.
func (d *directory) configure(before, access, behind string) {
	d.tb.Helper()
	d.kill()
	d.write("slapd.conf", fmt.Sprintf(configText, d.dir, before, access, behind))
	d.up()
}

// binds counts those that a DN asked for since the directory was made.
func (d *directory) binds(dn string) int {
	d.tb.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		d.tb.Fatal(err)
	}
	return strings.Count(string(text), `BIND dn="`+dn+`" method=`)
}

// do does something as the administrator.
func (d *directory) do(op func(*ldap.Conn) error) {
	d.tb.Helper()
	c, err := ldap.DialURL("ldap://" + d.addr)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // a test's
	if err := c.Bind(admin, adminPass); err != nil {
		d.tb.Fatal(err)
	}
	if err := op(c); err != nil {
		d.tb.Fatal(err)
	}
}

// add adds an entry with pairs of attributes and values.
func (d *directory) add(dn string, pairs ...string) {
	d.tb.Helper()
	req := ldap.NewAddRequest(dn, nil)
	values := make(map[string][]string)
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	for a, v := range values {
		req.Attribute(a, v)
	}
	d.do(func(c *ldap.Conn) error { return c.Add(req) })
}

func (d *directory) set(dn, attribute string, values ...string) {
	d.tb.Helper()
	req := ldap.NewModifyRequest(dn, nil)
	req.Replace(attribute, values)
	d.do(func(c *ldap.Conn) error { return c.Modify(req) })
}

// person adds someone who has a password.
func (d *directory) person(uid, mail string, more ...string) (dn string) {
	d.tb.Helper()
	dn = "uid=" + ldap.EscapeDN(uid) + "," + people
	d.add(dn, append([]string{"objectClass", "inetOrgPerson", "uid", uid, "cn", "someone", "sn", "someone", "mail", mail, "userPassword", userPass}, more...)...)
	return dn
}

// source is one of the directory, not started.
func (d *directory) source() *Source {
	return &Source{
		Servers: []string{"ldap://" + d.addr}, BindDN: admin, BindPassword: adminPass, Base: people, Upstream: "up",
		Timeout: caddy.Duration(20 * time.Second), Negative: caddy.Duration(time.Nanosecond),
	}
}

// start provisions and starts a source.
func start(tb testing.TB, s *Source) *Source {
	tb.Helper()
	if err := s.provision(zap.NewNop()); err != nil {
		tb.Fatal(err)
	}
	if err := s.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		s.Stop()
		if err := s.Cleanup(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// until waits for what an event brings about.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("not seen: " + what)
		}
	}
}

func accountsOf(s *Source) *accounts.Directory {
	return accounts.NewDirectory([]accounts.Source{s}, zap.NewNop())
}

func wantLogin(tb testing.TB, d *accounts.Directory, name, password string, want error) accounts.Login {
	tb.Helper()
	l, err := d.Authenticate(context.Background(), name, password)
	if !errors.Is(err, want) {
		tb.Errorf("login of %q: %v, want %v", name, err, want)
	}
	if err != nil && (strings.Contains(err.Error(), adminPass) || password != "" && strings.Contains(err.Error(), password)) {
		tb.Errorf("an error has a password in it: %v", err)
	}
	return l
}
