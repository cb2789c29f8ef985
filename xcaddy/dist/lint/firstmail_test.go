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
	"time"
)

// TestFirstMail holds what the README says: on a clean Debian, a package or an
// archive is a first mail away by less than a minute. The README's commands
// are run as they stand, in a system of Debian's packages that has none of
// ours, with a network of its own and nothing on it.
func TestFirstMail(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make another root")
	}
	debian := os.Getenv("LINT_DEBIAN")
	if debian == "" {
		t.Fatal("LINT_DEBIAN names no archive of a Debian system; `bash .ci/run package` makes one")
	}
	readme := read(t, root+"/README.md")
	send := block(t, readme, "sh", "curl -sS smtp://")
	for name, command := range map[string]string{
		"package": block(t, readme, "bash", "apt-get install"),
		"archive": block(t, readme, "bash", "tar -xzf"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, pattern := range []string{"mailgateway_0.0.1_" + runtime.GOARCH + ".deb", "mailgateway_0.0.1_linux_" + runtime.GOARCH + ".tar.gz"} {
				succeed(t, nil, "cp", filepath.Join(releases(t), pattern), dir)
			}
			fit := strings.NewReplacer("_amd64", "_"+runtime.GOARCH)
			write(t, filepath.Join(dir, "command"), fit.Replace(command))
			write(t, filepath.Join(dir, "send"), send)
			write(t, filepath.Join(dir, "unit"), read(t, unitFile))
			write(t, filepath.Join(dir, "systemctl"), systemctl)
			write(t, filepath.Join(dir, "script"), firstMail)
			cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-euc", `
				ip link set lo up
				mkdir "$0/root"
				mount -t tmpfs tmpfs "$0/root"
				tar -C "$0/root" -xf "$1" --exclude='./dev/*'
				mkdir -p "$0/root/srv"
				cp "$0"/mailgateway_* "$0/command" "$0/send" "$0/script" "$0/unit" "$0/root/srv"
				# An installed system has it; one just unpacked has not.
				printf '127.0.0.1 localhost\n::1 localhost\n' >"$0/root/etc/hosts"
				install -m 0755 "$0/systemctl" "$0/root/usr/local/bin/systemctl"
				mount -t proc proc "$0/root/proc"
				mkdir -p "$0/root/dev"
				mount --rbind /dev "$0/root/dev"
				exec chroot "$0/root" /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive bash -euo pipefail /srv/script
			`, dir, debian)
			start := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			took := regexp.MustCompile(`(?m)^first mail after (\d+) s$`).FindSubmatch(out)
			if took == nil || !strings.Contains(string(out), "you@example.net") {
				t.Fatalf("no mail:\n%s", out)
			}
			t.Logf("%s (with the making of the system: %s)", took[0], time.Since(start).Round(time.Second))
		})
	}
}

// block is the first code block of a language that contains a text.
func block(t *testing.T, page, language, with string) string {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		if strings.Contains(m[1], with) {
			return m[1]
		}
	}
	t.Fatalf("the README has no %s block with %q", language, with)
	return ""
}

// systemctl stands in for systemd, which runs in no chroot: `start` runs the
// unit's commands as the unit's user, with its environment, on a system that
// is read-only but for its state.
const systemctl = `#!/bin/bash
set -euo pipefail
[ "$1" = start ] || exit 0
unit=/usr/lib/systemd/system/$2.service
value() { sed -n "s/^$1=//p" "$unit"; }
user=$(value User)
for kind in State Logs; do
	[ "$kind" = State ] && parent=/var/lib || parent=/var/log
	install -d -m "$(value ${kind}DirectoryMode)" -o "$user" -g "$(value Group)" "$parent/$(value ${kind}Directory)"
done
environment=$(value Environment | sed 's/%d/\/etc\/mailgateway\/credentials/')
pre=$(value ExecStartPre) start=$(value ExecStart)
export environment pre start user
unshare --mount --propagation private bash -euc '
	for path in /var/lib/mailgateway /var/log/mailgateway; do
		mount --bind $path $path
	done
	mount -t tmpfs tmpfs /tmp
	mount -o remount,bind,ro / 2>/dev/null || mount -o remount,ro /
	! touch /usr/bin/written 2>/dev/null || { echo "the system can be written to"; exit 1; }
	as="setpriv --reuid=$user --regid=$user --clear-groups --inh-caps=-all --bounding-set=-all,+net_bind_service --no-new-privs env $environment"
	$as $pre >/dev/null 2>/tmp/pre.log || { cat /tmp/pre.log; exit 1; }
	exec $as $start
' >/dev/null 2>/srv/gateway.log </dev/null &
`

const firstMail = `
cd /srv
sudo() { "$@"; }
ready() { (exec 3<>/dev/tcp/127.0.0.1/2525 4<>/dev/tcp/127.0.0.1/2580) 2>/dev/null; }
! command -v mailgateway || { echo "it is there already"; exit 1; }
(. ./command) >/srv/command.log 2>&1 &
until ready; do
	[ $SECONDS -lt 60 ] || { echo "nothing listens"; cat /srv/*.log; exit 1; }
	sleep 0.1
done
. ./send
took=$SECONDS
[ $took -lt 60 ] || { echo "that took $took s"; exit 1; }
echo "first mail after $took s"
`
