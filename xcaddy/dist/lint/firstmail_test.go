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

// TestFirstMail holds what the README says: on a clean Debian, a package or an
// archive is a first mail away by less than a minute. The README's commands
// are run as they stand, in a system of Debian's packages that has none of
// ours, with a network of its own and nothing on it.
func TestFirstMail(t *testing.T) {
	readme := read(t, root+"/README.md")
	send := block(t, readme, "sh", "curl -sS smtp://")
	for name, command := range map[string]string{
		"package": block(t, readme, "bash", "apt-get install"),
		"archive": block(t, readme, "bash", "tar -xzf"),
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t)
			for _, file := range []string{deb(t, "0.0.1"), filepath.Join(releases(t), "mailgateway_0.0.1_linux_"+runtime.GOARCH+".tar.gz")} {
				succeed(t, nil, "cp", file, m.dir)
			}
			write(t, filepath.Join(m.dir, "command"), strings.ReplaceAll(command, "_amd64", "_"+runtime.GOARCH))
			write(t, filepath.Join(m.dir, "send"), send)
			out := m.sh(firstMail)
			took := regexp.MustCompile(`(?m)^first mail after (\d+) s$`).FindString(out)
			if took == "" || !strings.Contains(out, "you@example.net") {
				t.Fatalf("no mail:\n%s", out)
			}
			t.Log(took)
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
