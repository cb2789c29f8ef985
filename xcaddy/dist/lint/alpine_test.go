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
	"strings"
	"testing"
)

// TestAlpine is the life of the package under OpenRC, by the commands of
// docs/install.md. There is no apk here: its part, unpacking the package and running
// its scripts, is done by hand; the rest is OpenRC's and
// BusyBox's own.
func TestAlpine(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can change the root")
	}
	alpine := os.Getenv("LINT_ALPINE")
	if alpine == "" {
		t.Fatal("LINT_ALPINE names no folder with OpenRC and BusyBox; `bash .ci/run package` makes one")
	}
	packages, err := filepath.Glob(filepath.Join(releases(t), "mailgateway_0.0.1_*.apk"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("packages for Alpine: %v (%v)", packages, err)
	}
	page := read(t, root+"/docs/install.md")
	starts := regexp.MustCompile(`(?m)^# (rc-service mailgateway start)$`).FindStringSubmatch(page)
	if starts == nil {
		t.Fatal("docs/install.md does not say how to start the service on Alpine")
	}
	base := t.TempDir()
	write(t, base+"/life", alpineLife)
	write(t, base+"/start", starts[1])
	write(t, base+"/send", block(t, read(t, root+"/README.md"), "sh", "curl -sS smtp://"))
	succeed(t, nil, "cp", packages[0], base+"/package.apk")
	// This machine's own system under an overlay that is thrown away.
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-euc", `
		ip link set lo up
		mkdir -p "$0/t"
		mount -t tmpfs tmpfs "$0/t"
		mkdir "$0/t/up" "$0/t/work" "$0/t/root"
		root=$0/t/root
		mount -t overlay overlay -o "lowerdir=/,upperdir=$0/t/up,workdir=$0/t/work" "$root"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/run"
		mount --bind /dev "$root/dev"
		# Only services of OpenRC's are to be found.
		rm -rf "$root/etc/init.d" "$root/etc/runlevels"
		tar -C "$1/root" -c . | tar -C "$root" -x --keep-directory-symlink
		rm -rf "$root"/etc/init.d/*
		cp "$1/busybox" "$root/usr/local/bin/busybox"
		for name in addgroup adduser su; do ln -s busybox "$root/usr/local/bin/$name"; done
		mkdir "$root/srv/alpine"
		cp "$0"/life "$0"/start "$0"/send "$0"/package.apk "$root/srv/alpine"
		exec chroot "$root" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -euo pipefail /srv/alpine/life
	`, base, absolute(t, alpine))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "the package's life is over\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// alpineLife is what happens to the package.
const alpineLife = `
cd /srv/alpine
say() { echo "--- $*"; }
fail() {
	echo "FAIL: $*"
	cat /var/log/mailgateway/mailgateway.log || true
	exit 1
}
until_() { # until_ COMMAND...: another process gives no other sign
	for i in $(seq 300); do
		! "$@" 2>/dev/null || return 0
		sleep 0.1
	done
	fail "never: $*"
}
ready() { (exec 3<>/dev/tcp/127.0.0.1/2525 4<>/dev/tcp/127.0.0.1/2580) 2>/dev/null; }
gone() { ! pgrep -x mailgateway >/dev/null; }
main() { pgrep -x -u mailgateway mailgateway; }
is() { # is FILE MODE OWNER:GROUP
	local got
	got=$(stat -c '%a %U:%G' "$1") || fail "$1 is not there"
	[ "$got" = "$2 $3" ] || fail "$1 is $got, want $2 $3"
}
mail() { bash -euo pipefail ./send | grep -q you@example.net || fail "no mail"; }

# What OpenRC makes as it boots, and a network.
for state in daemons exclusive failed hotplugged inactive options scheduled started starting stopping tmp wasinactive; do mkdir -p /run/openrc/$state; done
touch /run/openrc/softlevel /etc/insserv.conf
mkdir -p /etc/runlevels/default
printf '#!/sbin/openrc-run\ndepend() { provide net; }\nstart() { :; }\n' >/etc/init.d/networking
chmod 0755 /etc/init.d/networking

say "install, as apk does: files, then the script"
tar -tzf package.apk | grep -v / >names 2>/dev/null || true
for script in .post-install .post-upgrade .pre-deinstall; do grep -qx "$script" names || fail "no $script in $(cat names)"; done
unpack() {
	tar -C / -xzf package.apk --exclude='.*-*' --exclude=.PKGINFO --warning=no-unknown-keyword
	# The OpenRC of this Debian is built without capabilities: there is no port below 1024 here.
	grep -q '^capabilities=' /etc/init.d/mailgateway || fail "no capabilities"
	sed -i '/^capabilities=/d' /etc/init.d/mailgateway
}
tar -xzf package.apk .post-install .post-upgrade .pre-deinstall --warning=no-unknown-keyword
unpack
sh ./.post-install 0.0.1
is /etc/mailgateway/Caddyfile 640 root:mailgateway
is /etc/mailgateway/credentials 2750 root:mailgateway
is /etc/init.d/mailgateway 755 root:root
[ "$(getent passwd mailgateway | cut -d: -f6,7)" = /var/lib/mailgateway:/sbin/nologin ] || fail "user: $(getent passwd mailgateway)"
gone || fail "it runs at once"

say "a configuration that does not load is named, and nothing starts"
cp -p /etc/mailgateway/Caddyfile good
sed -i 's/hostname localhost/nonsense localhost/' /etc/mailgateway/Caddyfile
! rc-service mailgateway start >refused 2>&1 || fail "it started"
grep -q nonsense refused || fail "$(cat refused)"
gone || fail "it runs"
cat good >/etc/mailgateway/Caddyfile

say "start: first mail"
. ./start 2>&1 | tee started
! grep -q '"level"' started || fail "the start has a log"
until_ ready
mail
is /var/lib/mailgateway 700 mailgateway:mailgateway
is /var/log/mailgateway 750 mailgateway:mailgateway
is /var/log/mailgateway/mailgateway.log 600 mailgateway:mailgateway
[ -z "$(find /var/lib/mailgateway /var/log/mailgateway -not -user mailgateway)" ] || fail "not the service's: $(find /var/lib/mailgateway /var/log/mailgateway -not -user mailgateway)"

say "a reload keeps the process, and reads a secret anew"
pid=$(main)
(umask 027 && echo sandbox-secret >/etc/mailgateway/credentials/sandbox)
sed -i 's,client_secret sandbox-secret,client_secret {file./etc/mailgateway/credentials/sandbox},; s/^\(\t*\)# dynamic$/\1dynamic/' /etc/mailgateway/Caddyfile
rc-service mailgateway reload
[ "$(main)" = "$pid" ] || fail "another process"
echo rt-printer | mailgateway smtp account add printer@example.com --upstream sandbox --refresh-token-file -
mail

say "one that is killed comes back"
kill -9 $pid
other() { main >now && [ "$(cat now)" != "$pid" ] && ready; }
until_ other
mail

say "an upgrade restarts it, and keeps what it has"
pid=$(main)
before=$(sha256sum /etc/mailgateway/credentials/sandbox /etc/mailgateway/Caddyfile)
cp /etc/mailgateway/Caddyfile mine
unpack
cp mine /etc/mailgateway/Caddyfile # apk keeps an edited one
chown root:root /etc/mailgateway/Caddyfile
sh ./.post-upgrade 0.0.2 0.0.1
until_ other
mail
mailgateway smtp account show printer@example.com >/dev/null
[ "$(sha256sum /etc/mailgateway/credentials/sandbox /etc/mailgateway/Caddyfile)" = "$before" ] || fail "changed"
is /etc/mailgateway/Caddyfile 640 root:mailgateway

say "stop, with an exit that is no failure"
rc-service mailgateway stop
until_ gone
grep -q '"exit_code":0' /var/log/mailgateway/mailgateway.log || fail "how did it end?"
sh ./.post-upgrade 0.0.2 0.0.1
gone || fail "an upgrade has started what was stopped"

say "removal"
rc-update add mailgateway default
rc-service mailgateway start
until_ ready
sh ./.pre-deinstall 0.0.2
until_ gone
[ ! -e /etc/runlevels/default/mailgateway ] && [ ! -L /etc/runlevels/default/mailgateway ] || fail "still in a runlevel"
echo "the package's life is over"
`
