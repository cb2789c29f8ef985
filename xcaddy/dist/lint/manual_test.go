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

package lint

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// command is a block of commands on a page: what has to be there before it, and
// what it prints. One that cannot be run here has a reason in place of both.
type command struct {
	before, want string
	edit         []string // placeholders and what stands for them
	not          string
}

// manual is every block of commands in the manual, by page and first line.
var manual = map[string]command{
	"README.md: tar -xzf":             {not: "TestFirstMail runs it"},
	"README.md: docker run":           {not: "TestImageRuns runs the image with what is here in Docker's place"},
	"README.md: sudo apt-get install": {not: "TestFirstMail and TestPackage run it"},
	"README.md: git clone":            {not: "scripts/quickstart runs it"},
	"README.md: printf":               {not: "scripts/quickstart and TestFirstMail run it"},
	"README.md: go test":              {not: "it is CI's own"},
	"README.md: xcaddy build":         {not: "CI's step xcaddy builds with the tree in the module's place"},

	"accounts.md: caddy smtp account add": {
		before: `echo '{"name":"alerts@example.com","upstream":"gmail"}' >accounts.jsonl`,
		want:   `(?s)alerts@example\.com added.*alerts@example\.com changed.*alerts@example\.com can send through gmail\.`,
		// The block takes the account away before it imports, and exports into the file that it imported.
		edit: []string{"caddy smtp login", "caddy smtp account list\ncaddy smtp login"},
	},
	"accounts.md: curl -sS http://localhost:2019/smtp/accounts": {
		before: `caddy smtp account add alerts@example.com --upstream gmail
echo '{"name":"second@example.com","upstream":"gmail"}' >accounts.jsonl`,
		want: `(?s)"name":\s*"alerts@example\.com".*"rate":\s*"5/1m"`,
		edit: []string{`"ETAG"`, `*`},
	},
	"connect.md: caddy smtp invite add": {
		before: "caddy smtp account add alerts@example.com --upstream gmail; caddy smtp account add other@example.com --upstream gmail; printf 'account\\nother@example.com\\n' >mailboxes.csv",
		want:   `(?s)https://mail\.example\.com/connect/i/\S+.*1 invited, 0 failed.*other@example\.com`,
		edit:   []string{"3f5a9c01d2e4", "$(caddy smtp invite list --state open | grep -oE '^[0-9a-f]{12}' | head -n 1)"},
	},
	"devices.md: printf": {
		before: "caddy smtp account add scanner@example.com --upstream gmail >password; caddy smtp login scanner@example.com",
		want:   `(?s)250 .*250 `,
		edit:   []string{"PASSWORD", "$(sed -n 's/^password: //p' password)"},
	},
	"google.md: caddy smtp account add alerts@example.com --upstream gmail --sender": {
		want: `alerts@example\.com can send through gmail\.`, before: app("gmail"),
	},
	"google.md: caddy smtp account add alerts@example.com --upstream gmail\n": {want: `alerts@example\.com can send through gmail\.`},

	"install.md: sha256sum": {
		before: "(cd /srv && sha256sum *.deb) >mailgateway_0.0.1_checksums.txt; cp /srv/*.deb .",
		want:   `mailgateway_0\.0\.1_\w+\.deb: OK`,
		// Nothing is signed before a tag.
		edit: []string{"cosign verify-blob", "true"},
	},
	"install.md: apt install":    {not: "TestPackage does the same by the README's command"},
	"install.md: dnf install":    {not: "there is no dnf whose packages would satisfy it; TestRPM installs with rpm"},
	"install.md: apk add":        {not: "there is no apk; TestAlpine does its part by hand"},
	"install.md: docker run":     {not: "TestImageRuns"},
	"install.md: helm install":   {not: "there is no cluster; TestHelmVariants renders"},
	"install.md: cp -rL":         {not: "TestAnsiblePackage plays the role; that page's release is not published"},
	"install.md: dscl":           {not: "there is no macOS"},
	"releasing.md: goreleaser":   {not: "CI's step package runs it, for fewer systems"},
	"windows.md: cd":             {not: "there is no Windows"},
	"tracing.md: docker run":     {not: "there is no Jaeger; interop.TestTracing has a collector"},
	"setup.md: mailgateway smtp": {not: "it asks; command.TestSetup answers"},
	"setup.md: sudo install": {
		before: sudoUser + "\necho sandbox-secret >/tmp/secret; install -m 0644 /srv/root.crt /etc/mailgateway/sandbox.crt",
		edit: []string{
			"smtp setup --dir /var/lib/mailgateway/setup", `smtp setup --dir /var/lib/mailgateway/setup --provider other --dial 127.0.0.1:2587 \
	--token-url http://127.0.0.1:2580/token --auth-url http://127.0.0.1:2580/authorize --client-id sandbox --client-secret-file /tmp/secret \
	--ca-file /etc/mailgateway/sandbox.crt --mailbox scanner@example.com --hostname localhost --no-test`,
			"restart mailgateway", "restart mailgateway\nmailgateway smtp account list; mailgateway smtp doctor | grep storage || true",
		},
		want: `(?s)scanner@example\.com.*never_consented.*ok +storage`,
	},
	"quickstart.md: git clone":            {not: "scripts/quickstart runs the README's"},
	"quickstart.md: printf":               {not: "scripts/quickstart runs the README's"},
	"quickstart.md: export":               {not: "its configuration is Google's; docs.TestCaddyfiles loads it"},
	"microsoft365.md: umask":              {not: "its last command serves; TestPackage's secrets are of the same kind"},
	"microsoft365.md: caddy run":          {not: "it serves; its other commands are as in the blocks before"},
	"operations.md: systemctl stop caddy": {not: "interop and storage/transfer copy between storages; there is no PostgreSQL in the machine"},
	"operations.md: apt install":          {not: "TestPackage, but for the editor"},
	"operations.md: install -m":           {not: "TestPackage runs it"},

	"microsoft365.md: caddy smtp test scanner@contoso.com": {
		before: app("microsoft365") + "\ncaddy smtp account add scanner@contoso.com --upstream microsoft365 --sender scanner@contoso.com",
		want:   `scanner@contoso\.com can send through microsoft365\.`,
	},
	"microsoft365.md: caddy smtp account add alerts@contoso.com": {want: `alerts@contoso\.com can send through microsoft365\.`},
	"migrating.md: caddy smtp account import accounts.json": {
		before: `echo '[{"email":"alerts@example.com","refresh_token":"rt-alerts@example.com","provider":"gmail","client_id":"sandbox"}]' >accounts.json
printf 'email,account_id,refresh_token,client_id\nsecond@example.com,2,rt-second@example.com,sandbox\n' >accounts.csv`,
		want: `(?s)alerts@example\.com.*second@example\.com`,
	},
	"migrating.md: caddy smtp account import emailproxy.config": {
		before: `printf '[alerts@example.com]\ntoken_url = https://oauth2.googleapis.com/token\noauth2_scope = https://mail.google.com/\nclient_id = sandbox\nclient_secret = sandbox-secret\n[SMTP-1587]\nserver_address = smtp.gmail.com\nserver_port = 587\n' >emailproxy.config`,
		want:   `(?s)alerts@example\.com.*alerts@example\.com changed`,
	},
	"migrating.md: caddy smtp account import /etc/postfix/sasl_passwd": {
		before: `mkdir -p /etc/postfix; printf '[smtp.gmail.com]:587 alerts@example.com:sandbox-secret\n' >/etc/postfix/sasl_passwd`,
		want:   `(?s)"name":"alerts@example\.com".*1 created, 0 updated, 0 unchanged, 0 failed`,
		// What is written to the file is what the import did.
		edit: []string{"> passwords.txt", "| tee passwords.txt"},
	},
	"migrating.md: caddy smtp account import /etc/pmta/config": {
		before: `mkdir -p /etc/pmta; printf '<virtual-mta one>\n<domain *>\nroute [smtp.gmail.com]:587\nauth-username alerts@example.com\nauth-password sandbox-secret\n</domain>\n</virtual-mta>\n' >/etc/pmta/config`,
		want:   `(?s)"name":"alerts@example\.com".*1 created, 0 updated, 0 unchanged, 0 failed`,
		edit:   []string{"> passwords.txt", "| tee passwords.txt"},
	},
	"migrating.md: jq": {
		before: `mkdir -p /etc/tokens; echo '{"refresh_token":"rt-alerts@example.com"}' >/etc/tokens/alerts@example.com`,
		want:   `alerts@example\.com added`,
		// There is no jq in the machine.
		edit: []string{"jq -r .refresh_token", `sed 's/.*"\(rt-[^"]*\)".*/\1/'`},
	},
	"mtas.md: caddy smtp snippet": {
		before: "caddy smtp account add alerts@example.com --upstream gmail --label pool=a",
		want:   `(?s)relayhost.*virtual-mta.*smtp_auth_plain_username.*hosts_require_auth`,
	},
	"operations.md: caddy validate": {want: `Valid configuration`},
	"operations.md: curl -sS -X POST http://localhost:2019/smtp/upstreams": {
		before: "caddy smtp account add alerts@example.com --upstream gmail; caddy smtp login alerts@example.com; caddy smtp test alerts@example.com", want: `^`,
	},
	"operations.md: umask 077": {
		before: sudoUser + "\ncaddy smtp account add kept@example.com --upstream gmail; rm -f /root/mailgateway.tar",
		edit:   []string{"> mailgateway.tar", "> /root/mailgateway.tar\ntar -tf /root/mailgateway.tar"}, want: `smtp/accounts`,
	},
	"operations.md: systemctl stop mailgateway": {
		before: sudoUser,
		edit:   []string{"< mailgateway.tar", "< /root/mailgateway.tar", "systemctl start mailgateway", "systemctl start mailgateway\ncaddy smtp account list"},
		want:   `kept@example\.com`,
	},
	"operations.md: openssl":                         {want: `^`, before: "openssl() { head -c 32 /dev/urandom | base64; }"},
	"operations.md: caddy smtp health":               {want: `(?s)it lives.*it takes mail`},
	"operations.md: caddy smtp node drain":           {want: `nothing is left`},
	"operations.md: caddy smtp node drain gateway-2": {not: "it needs a second node; e2e.TestDrained has three"},
	"personal.md: caddy smtp account add":            {want: `(?s)someone@gmail\.com added.*someone@outlook\.com changed`},
	"providers.md: caddy smtp login": {
		before: "caddy smtp account add alerts@example.com --upstream gmail; caddy smtp account add shared@example.com --upstream gmail",
		want:   `shared@example\.com changed`,
	},
	"replies.md: caddy smtp test": {
		before: "caddy smtp account add alerts@example.com --upstream gmail; caddy smtp login alerts@example.com", want: `can send through gmail`,
	},
	"quickstart.md: curl -sS smtp://127.0.0.1:2525": {
		before: "echo x >README.md; echo rt-demo@example.com | caddy smtp account add demo@example.com --upstream sandbox --refresh-token-file -",
		want:   `(?s)Login denied.*demo@example\.com can send through sandbox\.`,
		// The first command is to fail.
		edit: []string{"-T README.md\n", "-T README.md || true\n", "./mailgateway", "caddy"},
	},
	"quickstart.md: ./mailgateway smtp account add": {want: `alerts@example\.com can send through gmail\.`, edit: []string{"./mailgateway", "caddy"}},
}

// sudoUser is sudo for root, with and without a user.
const sudoUser = `sudo() { if [ "$1" = -u ]; then shift 2; (cd / && runuser -u mailgateway -- "$@"); else "$@"; fi; }`

// app has an upstream's provider give tokens to the application itself.
func app(upstream string) string {
	return fmt.Sprintf("sed -i '/upstream %s {/,/auth xoauth2/ s/xoauth2 sandbox/xoauth2 app/' /etc/caddy/Caddyfile; caddy reload --config /etc/caddy/Caddyfile", upstream)
}

// office is a configuration with the upstreams of the pages, which are the
// sandbox here.
func office() string {
	var upstreams strings.Builder
	for _, name := range []string{"sandbox", "gmail", "microsoft365", "outlook"} {
		fmt.Fprintf(&upstreams, `		upstream %s {
			dial 127.0.0.1:2587
			tls starttls {
				trust_pool pki_root {
					authority local
				}
			}
			auth xoauth2 sandbox
		}
`, name)
	}
	return `{
	local_certs
	skip_install_trust
	smtp_sandbox {
		use_pki
	}
	oauth_tokens {
		provider sandbox generic {
			token_url http://127.0.0.1:2580/token
			auth_url http://127.0.0.1:2580/authorize
			client_id sandbox
			client_secret sandbox-secret
		}
		provider app generic {
			grant client_credentials
			token_url http://127.0.0.1:2580/token
			client_id sandbox
			client_secret sandbox-secret
		}
	}
	smtp_upstreams {
` + upstreams.String() + `	}
	smtp {
		hostname mail.example.com
		accounts {
			dynamic
		}
		server local 127.0.0.1:2525 {
			tls off
		}
		server submission :587
		server submissions :465 {
			tls implicit
		}
	}
}

mail.example.com {
	smtp_connect {
		url https://mail.example.com/connect
		name "Example Mail"
		unidentified
	}
}
`
}

// TestManual runs the manual's commands as they stand, on a machine where
// Caddy is the gateway. What needs a browser or a provider is stood in for.
func TestManual(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	m := boot(t)
	succeed(t, nil, "cp", deb(t, "0.0.1"), m.dir)
	write(t, m.dir+"/office", office())
	write(t, m.dir+"/caddy", caddyHere)
	m.sh(`apt-get install -y /srv/*.deb
echo '127.0.0.1 mail.example.com' >>/etc/hosts
install -m 0755 /srv/caddy /usr/local/bin/caddy
ln -s mailgateway /etc/caddy
cat /srv/office >/etc/caddy/Caddyfile
systemctl start mailgateway
cp /var/lib/mailgateway/caddy/pki/authorities/local/root.crt /srv/root.crt`)

	used := make(map[string]bool)
	for _, path := range append(pages, root+"/README.md") {
		page := read(t, path)
		for _, b := range regexp.MustCompile("(?ms)^```(?:sh|bash|console)\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
			text := regexp.MustCompile(`(?m)^[#>] `).ReplaceAllString(b[1], "")
			key, c := "", command{}
			for k, v := range manual {
				name, first, _ := strings.Cut(k, ": ")
				if name == filepath.Base(path) && strings.HasPrefix(text, first) && len(k) > len(key) {
					key, c = k, v
				}
			}
			if key == "" {
				t.Errorf("%s: no test knows of these commands:\n%s", path, text)
				continue
			}
			used[key] = true
			if c.not != "" {
				continue
			}
			m.prints(key, text, c)
		}
	}
	for key := range manual {
		if !used[key] {
			t.Errorf("no page has the commands %q any more", key)
		}
	}
}

// prints runs a page's commands, in an empty folder and with no accounts, and
// compares what they print.
func (m *machine) prints(key, text string, c command) {
	m.t.Helper()
	script := `rm -rf /root/empty; mkdir /root/empty; cd /root/empty
export CURL_CA_BUNDLE=/srv/root.crt
if ! cmp -s /srv/office /etc/caddy/Caddyfile; then cat /srv/office >/etc/caddy/Caddyfile; caddy reload --config /etc/caddy/Caddyfile; fi
for a in $(caddy smtp account export | sed -n 's/^{"name":"\([^"]*\)".*/\1/p'); do caddy smtp account remove "$a" >/dev/null; done
{ :
` + c.before + `
} >before.log 2>&1 || { cat before.log; exit 1; }
` + strings.NewReplacer(c.edit...).Replace(text)
	// A command that waits for a person ends the test, not CI.
	write(m.t, m.dir+"/commands", script)
	out, err := m.try("timeout 120 bash -euo pipefail /srv/commands </dev/null")
	if err != nil || !regexp.MustCompile(c.want).MatchString(out) {
		m.t.Errorf("%s\n%s\n%v\n%s", key, text, err, out)
	}
}

// caddyHere is the gateway by the name that the manual calls it; what an owner
// does in the browser is done by what the sandbox knows every mailbox by.
const caddyHere = `#!/bin/sh
if [ "$1 $2" = "smtp login" ]; then
	echo "rt-$3" | mailgateway smtp account set "$3" --refresh-token-file -
	exit
fi
exec mailgateway "$@"
`
