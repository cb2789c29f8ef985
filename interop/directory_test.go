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

package interop

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	directoryConfig = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb.so
pidfile {dir}/pid
database mdb
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
rootpw made-up-admin-password
directory {dir}/db
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to attrs=description by dn="cn=gateway,dc=example,dc=com" read by * none
access to * by * read
`
	directoryEntries = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: cn=gateway,dc=example,dc=com
objectClass: person
cn: gateway
sn: gateway
userPassword: made-up-gateway-password

dn: uid=scanner,dc=example,dc=com
objectClass: inetOrgPerson
uid: scanner
cn: scanner
sn: scanner
mail: scanner@example.com
employeeNumber: scanner@provider.test
description: made-up-rt-scanner
userPassword: made-up-directory-password

dn: cn=mail,dc=example,dc=com
objectClass: groupOfNames
cn: mail
member: uid=scanner,dc=example,dc=com

`
)

// TestDirectory has a client log in with a password that only a directory knows, to an
// account that only the directory has.
func TestDirectory(t *testing.T) {
	need(t, python, "/usr/sbin/slapd", "/usr/sbin/slapadd", "ldapmodify")
	dir := t.TempDir()
	config, entries := filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "entries.ldif")
	for name, text := range map[string]string{config: strings.ReplaceAll(directoryConfig, "{dir}", dir), entries: directoryEntries} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	succeed(t, nil, "/usr/sbin/slapadd", "-f", config, "-l", entries)
	addr := freeAddrs(t, 1)[0]
	slapd := start(t, exec.Command("/usr/sbin/slapd", "-d", "0", "-f", config, "-h", "ldap://"+addr))
	t.Cleanup(slapd.stop)
	slapd.waitListening(addr)

	g := startGateway(t, gatewayOptions{
		sandbox: "\n\t\tmailbox scanner@provider.test made-up-rt-scanner",
		accounts: `
			ldap ldap://` + addr + ` {
				bind_dn       cn=gateway,dc=example,dc=com
				bind_password made-up-gateway-password
				base          dc=example,dc=com
				group_filter  "(&(cn=mail)(member={dn}))"
				attribute     mailbox employeeNumber
				attribute     refresh_token description
				upstream      provider
				fresh         1s
			}`,
	})
	p, err := strconv.Atoi(port(g.starttls))
	if err != nil {
		t.Fatal(err)
	}
	const from, to = "scanner@example.com", "one@example.net"
	send := func(word, name string) string {
		t.Helper()
		m := message(name, from, to, []byte("a scan\r\n"))
		in, err := json.Marshal(smtplibJob{g.pki.caFile, p, "starttls", from, word, "PLAIN", true, []smtplibMessage{{From: from, To: []string{to}, Data: m}}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := command(t, in, python, "smtplib_client.py")
		if err != nil {
			return out // of a login that failed
		}
		return ""
	}
	if got := send("made-up-directory-password", "ldap-right"); got != "" {
		t.Fatalf("the message is refused: %s\n%s", got, tail(g.out.String(), 20))
	}
	g.sandbox.checkReceived("scanner@provider.test", []want{{from, []string{to}, message("ldap-right", from, to, []byte("a scan\r\n"))}})
	if got := send("made-up-wrong-password", "ldap-wrong"); !strings.Contains(got, "535") {
		t.Errorf("a wrong password: %s, want 535", got)
	}
	succeed(t, []byte("dn: cn=mail,dc=example,dc=com\nchangetype: modify\nreplace: member\nmember: cn=gateway,dc=example,dc=com\n"),
		"ldapmodify", "-x", "-H", "ldap://"+addr, "-D", "cn=admin,dc=example,dc=com", "-w", "made-up-admin-password")
	g.waitOutputFunc("the account is gone", func(string) bool {
		return strings.Contains(send("made-up-directory-password", "ldap-left"), "535")
	})
	slapd.stop()
	// Of a name that left the group, too, nothing is known now.
	if got := send("made-up-unknown-password", "ldap-away"); !strings.Contains(got, "454") || strings.Contains(got, "535") {
		t.Errorf("without the directory: %s, want 454", got)
	}
	for _, args := range [][]string{{"smtp", "test", "nobody-has-it@example.com"}, {"smtp", "doctor"}} {
		out, err := command(t, nil, gatewayBinary, append(args, "--address", g.admin)...)
		if err == nil || !strings.Contains(out, "ldap://"+addr) || strings.Contains(out, "no such account") || strings.Contains(out, "malformed") {
			t.Errorf("%s without the directory: %v, it names another cause:\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, secret := range []string{"made-up-directory-password", "made-up-wrong-password", "made-up-gateway-password", "made-up-rt-scanner"} {
		if strings.Contains(g.out.String(), secret) {
			t.Errorf("the secret %q is in the gateway's log", secret)
		}
	}
}
