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
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// releases is the folder with the packages of two releases, which
// .ci/run has GoReleaser make.
func releases(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LINT_RELEASES")
	if dir == "" {
		t.Fatal("LINT_RELEASES names no folder with packages; `bash .ci/run package` makes them")
	}
	return absolute(t, dir)
}

// deb is a version's Debian package.
func deb(t *testing.T, version string) string {
	t.Helper()
	return filepath.Join(releases(t), "mailgateway_"+version+"_"+runtime.GOARCH+".deb")
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestDebContents holds what is in the package, and that it is the same bytes
// each time.
func TestDebContents(t *testing.T) {
	dir := t.TempDir()
	file := deb(t, "0.0.1")
	list := succeed(t, nil, "dpkg-deb", "--contents", file)
	for _, want := range []string{
		`-rwxr-xr-x root/root .* ./usr/bin/mailgateway\n`,
		`-rw-r----- root/root .* ./etc/mailgateway/Caddyfile\n`,
		`-rw-r--r-- root/root .* ./usr/lib/systemd/system/mailgateway.service\n`,
		`./usr/share/man/man8/mailgateway.8.gz\n`,
		`./usr/share/doc/mailgateway/copyright\n`,
		`./usr/share/doc/mailgateway/docs/operations.md\n`,
		`./usr/share/doc/mailgateway/examples/office.Caddyfile\n`,
		`./usr/share/doc/mailgateway/examples/fail2ban/filter.conf\n`,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the package has no %s", want)
		}
	}
	for line := range strings.Lines(list) {
		if !strings.Contains(line, " root/root ") || strings.Contains(line, "_test.go") || strings.Contains(line, "/usr/local/") {
			t.Errorf("in the package: %s", line)
		}
	}
	control := filepath.Join(dir, "control")
	succeed(t, nil, "dpkg-deb", "--control", file, control)
	if got := read(t, control+"/conffiles"); got != "/etc/mailgateway/Caddyfile\n" {
		t.Errorf("conffiles %q", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		succeed(t, nil, "sh", "-n", filepath.Join(control, script))
	}
}

// TestDebLife installs, configures, upgrades, removes and purges the package
// for real, on this machine's own system under an overlay that is thrown away.
func TestDebLife(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can install packages")
	}
	base := t.TempDir()
	for _, version := range []string{"0.0.1", "0.0.2"} {
		succeed(t, nil, "cp", deb(t, version), base)
	}
	write(t, filepath.Join(base, "life"), life)
	// The overlay's own files are on a tmpfs, which the mount namespace ends
	// with. Nothing is started: policy-rc.d says so, and there is no systemd.
	// The caller's namespaces for the network too, for the gateway's ports.
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-euc", `
		ip link set lo up
		mkdir -p "$0/t"
		mount -t tmpfs tmpfs "$0/t"
		mkdir "$0/t/up" "$0/t/work" "$0/t/root"
		mount -t overlay overlay -o "lowerdir=/,upperdir=$0/t/up,workdir=$0/t/work" "$0/t/root"
		mkdir -p "$0/t/root/debs"
		cp "$0"/*.deb "$0/life" "$0/t/root/debs"
		mount -t proc proc "$0/t/root/proc"
		mount --bind /dev "$0/t/root/dev"
		printf '#!/bin/sh\nexit 101\n' >"$0/t/root/usr/sbin/policy-rc.d"
		chmod 755 "$0/t/root/usr/sbin/policy-rc.d"
		exec chroot "$0/t/root" bash -euo pipefail /debs/life `+runtime.GOARCH+`
	`, base)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "the package's life is over\n") {
		t.Fatalf("the script ended early:\n%s", out)
	}
	t.Logf("%s", out)
	if _, err := os.Stat("/etc/mailgateway"); err == nil {
		t.Error("the test has changed the machine")
	}
}

// life is what happens to a package.
const life = `
arch=$1
cd /
say() { echo "--- $*"; }
fail() { echo "FAIL: $*"; exit 1; }
is() { # is FILE MODE OWNER:GROUP
	local got
	got=$(stat -c '%a %U:%G' "$1") || fail "$1 is not there"
	[ "$got" = "$2 $3" ] || fail "$1 is $got, want $2 $3"
}
as() {
	local exec=
	[ "$1" != exec ] || { exec=exec; shift; }
	$exec setpriv --reuid=mailgateway --regid=mailgateway --clear-groups --inh-caps=-all "$@"
}

say install
# The documentation counts, too, where dpkg is told to leave it out.
rm -f /etc/dpkg/dpkg.cfg.d/docker* /etc/dpkg/dpkg.cfg.d/excludes
if command -v adduser >/dev/null; then force=; else fail "adduser is not installed"; fi
dpkg -i /debs/mailgateway_0.0.1_$arch.deb
[ "$(dpkg-query -W -f '${db:Status-Abbrev}' mailgateway)" = "ii " ] || fail "not installed"
is /usr/bin/mailgateway 755 root:root
is /etc/mailgateway 755 root:root
is /etc/mailgateway/Caddyfile 640 root:mailgateway
is /etc/mailgateway/credentials 2750 root:mailgateway
is /usr/lib/systemd/system/mailgateway.service 644 root:root
[ "$(getent passwd mailgateway | cut -d: -f6,7)" = /var/lib/mailgateway:/usr/sbin/nologin ] || fail "user: $(getent passwd mailgateway)"
[ ! -e /etc/systemd/system/multi-user.target.wants/mailgateway.service ] || fail "enabled at once"

say "the service's user can read its configuration and the secrets, and change neither"
install -d -m 0700 -o mailgateway -g mailgateway /var/lib/mailgateway
export XDG_DATA_HOME=/var/lib/mailgateway XDG_CONFIG_HOME=/var/lib/mailgateway HOME=/var/lib/mailgateway
as /usr/bin/mailgateway validate --config /etc/mailgateway/Caddyfile
(umask 027 && echo secret >/etc/mailgateway/credentials/google)
is /etc/mailgateway/credentials/google 640 root:mailgateway
[ "$(as cat /etc/mailgateway/credentials/google)" = secret ] || fail "the service cannot read the secret"
! as rm -f /etc/mailgateway/credentials/google 2>/dev/null || fail "the service can remove the secret"
! setpriv --reuid=nobody --regid=nogroup --clear-groups cat /etc/mailgateway/credentials/google 2>/dev/null || fail "others can read the secret"

say "it starts as shipped"
(as exec /usr/bin/mailgateway run --config /etc/mailgateway/Caddyfile) >/tmp/gateway.log 2>&1 &
pid=$!
for i in $(seq 200); do
	as /usr/bin/mailgateway smtp account list >/dev/null 2>&1 && break
	kill -0 $pid || { cat /tmp/gateway.log; fail "ended"; }
	sleep 0.1
done
exec 3<>/dev/tcp/127.0.0.1/2525
read -r greeting <&3
[[ $greeting == 220* ]] || fail "greeting $greeting"
exec 3>&-
kill $pid
wait $pid || fail "exit code $?"
touch /var/lib/mailgateway/token

say "an upgrade keeps an edited configuration, and who may read it"
systemctl enable mailgateway.service
[ -L /etc/systemd/system/multi-user.target.wants/mailgateway.service ] || fail "not enabled"
echo '# mine' >>/etc/mailgateway/Caddyfile
before=$(sha256sum /etc/mailgateway/Caddyfile)
dpkg -i --force-confold /debs/mailgateway_0.0.2_$arch.deb
[ "$(dpkg-query -W -f '${Version}' mailgateway)" = 0.0.2 ] || fail "version"
[ "$(sha256sum /etc/mailgateway/Caddyfile)" = "$before" ] || fail "the edited configuration is gone"
is /etc/mailgateway/Caddyfile 640 root:mailgateway
[ "$(cat /etc/mailgateway/credentials/google)" = secret ] || fail "the credential is gone"
[ -e /var/lib/mailgateway/token ] || fail "the state is gone"
[ -L /etc/systemd/system/multi-user.target.wants/mailgateway.service ] || fail "not enabled any more"

say "an administrator's permissions stay"
dpkg-statoverride --add --update root root 0600 /etc/mailgateway/Caddyfile
dpkg -i --force-confold /debs/mailgateway_0.0.2_$arch.deb
is /etc/mailgateway/Caddyfile 600 root:root
dpkg-statoverride --remove /etc/mailgateway/Caddyfile

say "removal keeps configuration and state"
dpkg -r mailgateway
[ ! -e /usr/bin/mailgateway ] || fail "the program is still there"
[ ! -e /usr/share/doc/mailgateway ] || fail "the documentation is still there"
[ "$(sha256sum /etc/mailgateway/Caddyfile)" = "$before" ] || fail "the configuration is gone"
[ -e /etc/mailgateway/credentials/google ] || fail "the credential is gone"
[ -e /var/lib/mailgateway/token ] || fail "the state is gone"

say "purge leaves nothing but the user"
mkdir -p /var/log/mailgateway
dpkg -P mailgateway
for path in /etc/mailgateway /var/lib/mailgateway /var/log/mailgateway \
	/etc/systemd/system/multi-user.target.wants/mailgateway.service; do
	[ ! -e $path ] && [ ! -L $path ] || fail "$path is still there"
done
[ -z "$(find /etc /usr /var/lib/systemd -xdev -name '*mailgateway*' -print -quit)" ] ||
	fail "left: $(find /etc /usr /var/lib/systemd -xdev -name '*mailgateway*')"
! dpkg-query -W mailgateway 2>/dev/null || fail "dpkg still knows it"
getent passwd mailgateway >/dev/null || fail "the user is gone: its number could be given to another"

say "and again"
dpkg -i /debs/mailgateway_0.0.2_$arch.deb
is /etc/mailgateway/Caddyfile 640 root:mailgateway
dpkg -P mailgateway
echo "the package's life is over"
`
