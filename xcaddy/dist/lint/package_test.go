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
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// sudo is for commands that the manual gives to a user: in the machine all is root's.
const sudo = "cd /srv; sudo() { \"$@\"; }\n"

// pageCommand is a command that a page of the manual gives in a line, or in a table.
func pageCommand(t *testing.T, page, with string) string {
	t.Helper()
	m := regexp.MustCompile("(?m)(?:^# |`)(" + regexp.QuoteMeta(with) + "[^`\n]*)").FindStringSubmatch(read(t, root+page))
	if m == nil {
		t.Fatalf("%s has no command %q", page, with)
	}
	return strings.NewReplacer("NEW", "0.0.2", "_amd64", "_"+runtime.GOARCH).Replace(m[1])
}

// TestPackage is the life of a packaged service under systemd: installed and
// started by the README's commands, with a secret, upgraded while clients send,
// taken back, removed and purged.
func TestPackage(t *testing.T) {
	t.Parallel()
	m := boot(t)
	install := sudo + strings.ReplaceAll(block(t, read(t, root+"/README.md"), "bash", "apt-get install"), "_amd64", "_"+runtime.GOARCH)
	succeed(t, nil, "cp", deb(t, "0.0.1"), m.dir)
	m.sh(install)
	if n := m.mail(); n != 1 {
		t.Fatalf("%d messages arrived", n)
	}
	if got := m.sh("systemctl is-enabled mailgateway || true"); got != "disabled" {
		t.Errorf("the installation has left the service %s", got)
	}
	m.secrets()
	m.upgrade()
	m.back()

	// Removed, it leaves what an operator has made; installed again, it goes on.
	kept := "sha256sum /etc/mailgateway/Caddyfile /etc/mailgateway/credentials/microsoft"
	before := m.sh(kept)
	m.sh("systemctl start mailgateway; apt-get remove -y mailgateway")
	m.gone()
	if got := m.sh(kept); got != before {
		t.Errorf("removal has changed\n%s\nto\n%s", before, got)
	}
	m.sh("rm /srv/*.deb")
	succeed(t, nil, "cp", deb(t, "0.0.2"), m.dir)
	m.sh(install)
	if n := m.mail(); n != 1 {
		t.Errorf("%d messages arrived", n)
	}

	// Purged, nothing is left, and what comes next begins anew.
	m.sh("apt-get purge -y mailgateway")
	m.gone()
	if out := m.sh("find / -xdev -name '*mailgateway*' -not -path '/srv/*' -not -path '/tmp/*'"); out != "" {
		t.Errorf("a purge leaves\n%s", out)
	}
	m.sh(install)
	if n := m.mail(); n != 1 {
		t.Errorf("%d messages arrived", n)
	}
}

// gone fails the test if systemd knows anything of the service.
func (m *machine) gone() {
	m.t.Helper()
	if out := m.sh("systemctl list-units --all --plain --no-legend 'mailgateway*'; grep -l mailgateway /proc/[0-9]*/comm || true"); out != "" {
		m.t.Errorf("of the service there is still\n%s", out)
	}
}

// secrets has the service read one as docs/operations.md says, and take up a
// changed one by a reload.
func (m *machine) secrets() {
	t := m.t
	t.Helper()
	write(t, m.dir+"/Caddyfile", strings.NewReplacer("client_secret sandbox-secret", "client_secret {file./etc/mailgateway/credentials/microsoft}",
		"# dynamic\n", "dynamic\n").Replace(read(t, root+"/Caddyfile.example")))
	put := func(secret string) {
		t.Helper()
		write(t, m.dir+"/microsoft.txt", secret)
		m.sh("cd /srv; " + pageCommand(t, "/docs/operations.md", "install -m 0640"))
	}
	put("wrong")
	if got := m.sh("stat -c '%a %U:%G' /etc/mailgateway/credentials/microsoft"); got != "640 root:mailgateway" {
		t.Errorf("the secret is %s", got)
	}
	m.sh("cat /srv/Caddyfile >/etc/mailgateway/Caddyfile; rm -rf /var/lib/mailgateway/*; systemctl restart mailgateway")
	if out, err := m.try(block(t, read(t, root+"/README.md"), "sh", "curl -sS smtp://")); err == nil {
		t.Errorf("with a wrong secret:\n%s", out)
	}
	pid := m.main()
	put("sandbox-secret")
	m.sh("systemctl reload mailgateway")
	if n := m.mail(); n != 1 || m.main() != pid {
		t.Errorf("%d messages after a reload of process %d, which is now %d", n, pid, m.main())
	}

	// The other way that the page has, with systemd 252: it keeps the secret.
	if version := m.sh("systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p'"); version < "252" {
		t.Logf("systemd %s does not pass secrets to ExecStartPre", version)
		return
	}
	write(t, m.dir+"/drop-in", "[Service]\nLoadCredential=microsoft:/root/microsoft\nEnvironment=CREDENTIALS_DIRECTORY=%d\n")
	m.sh(`install -m 0600 /srv/microsoft.txt /root/microsoft
sed 's,{file./etc/mailgateway/credentials/,{file.{$CREDENTIALS_DIRECTORY}/,' /srv/Caddyfile >/etc/mailgateway/Caddyfile
mv /etc/mailgateway/credentials /root/aside
mkdir -p /etc/systemd/system/mailgateway.service.d
cp /srv/drop-in /etc/systemd/system/mailgateway.service.d/override.conf
systemctl daemon-reload
systemctl restart mailgateway`)
	if n := m.mail(); n != 1 {
		t.Errorf("%d messages with a secret that systemd passes on", n)
	}
	m.sh("systemctl reload mailgateway")
	if n := m.mail(); n == 0 {
		t.Errorf("no message after a reload with a secret that systemd passes on")
	}
	m.sh(`cat /srv/Caddyfile >/etc/mailgateway/Caddyfile
mv /root/aside /etc/mailgateway/credentials
rm -r /etc/systemd/system/mailgateway.service.d
systemctl daemon-reload
systemctl restart mailgateway`)
	if n := m.mail(); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// stays is what an upgrade has no business with.
const stays = `cd /; stat -c '%a %U:%G %n' /etc/mailgateway/* /etc/mailgateway/credentials/* /var/lib/mailgateway
sha256sum /etc/mailgateway/Caddyfile /etc/mailgateway/credentials/* /var/lib/mailgateway/caddy/pki/authorities/local/root.*
mailgateway smtp account show printer@example.com >/dev/null
systemctl is-enabled mailgateway`

// printer is more that stays: an account, and that the service is enabled.
const printer = `systemctl enable mailgateway
echo rt-printer | mailgateway smtp account add printer@example.com --upstream sandbox --refresh-token-file -`

// upgrade goes to the newer version by docs/upgrade.md's command, while a
// client sends.
func (m *machine) upgrade() {
	t := m.t
	t.Helper()
	m.sh(printer)
	before, pid := m.sh(stays), m.main()
	succeed(t, nil, "cp", deb(t, "0.0.2"), m.dir)
	write(t, m.dir+"/client", sending)
	out := m.sh("(cd /srv && exec bash ./client) & client=$!\nuntil [ -e /srv/sent ]; do sleep 0.05; done\ncd /srv; " +
		pageCommand(t, "/docs/upgrade.md", "apt install") + " -y\ntouch /srv/upgraded; wait $client")
	if got := m.sh(stays); got != before {
		t.Errorf("the upgrade has changed\n%s\nto\n%s", before, got)
	}
	if got := m.sh("mailgateway version"); !strings.HasPrefix(got, "mailgateway-0.0.2 ") {
		t.Errorf("version %s", got)
	}
	if m.main() == pid {
		t.Error("the old process runs")
	}
	if log := m.sh("journalctl --no-pager -u mailgateway"); strings.Contains(log, "Failed") || strings.Contains(log, "SIGKILL") {
		t.Errorf("the service has failed:\n%s\n%s", log, out)
	}
}

// sending is a client that sends one message after the other, and tries again
// what was not taken: during an upgrade for a while, and no longer.
const sending = `
printf 'Subject: during an upgrade\r\n\r\nIt works.\r\n' >message
send() {
	curl -sS smtp://127.0.0.1:2525 --user demo@example.com:demo-password --max-time 20 \
		--mail-from demo@example.com --mail-rcpt you@example.net --upload-file message
}
send
touch sent
until [ -e upgraded ]; do send 2>/dev/null || sleep 0.05; done
send
`

// back goes to the older version, as docs/upgrade.md says; a service that is
// stopped and disabled stays so.
func (m *machine) back() {
	t := m.t
	t.Helper()
	m.sh("systemctl disable --now mailgateway")
	m.sh("cd /srv; " + strings.ReplaceAll(pageCommand(t, "/docs/upgrade.md", "apt install"), "0.0.2", "0.0.1") + " -y --allow-downgrades")
	if got := m.sh("mailgateway version; systemctl is-enabled mailgateway || true; systemctl is-active mailgateway || true"); !strings.HasPrefix(got, "mailgateway-0.0.1 ") || !strings.HasSuffix(got, "\ndisabled\ninactive") {
		t.Errorf("after the way back:\n%s", got)
	}
	m.sh("systemctl start mailgateway")
	if n := m.mail(); n != 1 {
		t.Errorf("%d messages arrived", n)
	}
}

// TestRPM is the same for the RPM, as far as a Debian with rpm can tell: its
// dependencies have other names there.
func TestRPM(t *testing.T) {
	t.Parallel()
	m := boot(t)
	for _, version := range []string{"0.0.1", "0.0.2"} {
		files, err := filepath.Glob(filepath.Join(releases(t), "mailgateway-"+version+"-1.*.rpm"))
		if err != nil || len(files) != 1 {
			t.Fatalf("RPMs of version %s: %v (%v)", version, files, err)
		}
		succeed(t, nil, "cp", files[0], m.dir+"/"+version+".rpm")
	}
	m.sh("rpm --install --nodeps /srv/0.0.1.rpm; systemctl start mailgateway")
	if n := m.mail(); n != 1 {
		t.Fatalf("%d messages arrived", n)
	}
	if got := m.sh("systemctl is-enabled mailgateway || true"); got != "disabled" {
		t.Errorf("the installation has left the service %s", got)
	}
	m.secrets()
	m.sh(printer)
	before, pid := m.sh(stays), m.main()
	m.sh("rpm --upgrade --nodeps /srv/0.0.2.rpm")
	if got := m.sh(stays); got != before {
		t.Errorf("the upgrade has changed\n%s\nto\n%s", before, got)
	}
	if got := m.sh("mailgateway version"); !strings.HasPrefix(got, "mailgateway-0.0.2 ") || m.main() == pid || m.mail() != 1 {
		t.Errorf("version %s runs as %d, which was %d", got, m.main(), pid)
	}
	m.sh("rpm --erase mailgateway")
	m.gone()
	if got := m.sh("cat /etc/mailgateway/Caddyfile.rpmsave; ls /etc/mailgateway/credentials /var/lib/mailgateway"); !strings.Contains(got, "/etc/mailgateway/credentials/microsoft") || !strings.HasSuffix(got, "/var/lib/mailgateway:\ncaddy") {
		t.Errorf("removal has left\n%s", got)
	}
}
