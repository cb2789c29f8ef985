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
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImageRuns has buildah build the image's last stage, as the Dockerfile
// says, from what the first one leaves, and runs it: as the image's user, on a
// root that is read-only, with its entry point and its health check. A mail
// passes.
//
// The first stage wants an image from a registry, and Podman a machine whose
// cgroups are of one kind; CI has neither. docs/decisions.md has the errors.
func TestImageRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make another root")
	}
	_, last, ok := strings.Cut(read(t, dockerfile), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the last stage is not from scratch")
	}
	dir := t.TempDir()
	stage := filepath.Join(dir, "build")
	for _, d := range []string{"out/data", "out/config", "out/tmp", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(stage, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	succeed(t, nil, "cp", binary(t), filepath.Join(stage, "out"))
	write(t, filepath.Join(stage, "etc/ssl/certs/ca-certificates.crt"), "")
	buildah := func(args ...string) string {
		t.Helper()
		return succeed(t, nil, "buildah", append([]string{"--root", dir + "/images", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args...)...)
	}
	config := filepath.Join(stage, "Dockerfile")
	write(t, config, "FROM scratch\nCOPY . /\n")
	buildah("build", "--isolation", "chroot", "-q", "-t", "localhost/build", stage)
	write(t, filepath.Join(dir, "Dockerfile"), "FROM localhost/build AS build\nFROM scratch\n"+last)
	buildah("build", "--isolation", "chroot", "-q", "--format", "docker", "--pull-never", "-f", filepath.Join(dir, "Dockerfile"), "-t", "localhost/mailgateway", root)
	container := strings.TrimSpace(buildah("from", "--pull-never", "localhost/mailgateway"))
	mounted := strings.TrimSpace(buildah("mount", container))
	t.Cleanup(func() { buildah("umount", container) })

	var image struct {
		Docker struct {
			Config struct {
				User            string
				Env             []string
				Entrypoint, Cmd []string
				Healthcheck     struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(buildah("inspect", "localhost/mailgateway")), &image); err != nil {
		t.Fatal(err)
	}
	c := image.Docker.Config
	if c.User != "65532:65532" || len(c.Healthcheck.Test) < 2 || c.Healthcheck.Test[0] != "CMD" {
		t.Fatalf("the image's configuration: %+v", c)
	}
	// No shell in the image: what asks from outside is the machine's own curl,
	// in the same network.
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash", "-euo", "pipefail", "-c", `
		ip link set lo up
		root=$1 dir=$2 environment=$3 command=$4 check=$5
		# As every runtime does.
		mkdir -p "$root/proc"
		printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
		mount --bind "$root" "$root"
		mount -o remount,bind,ro "$root"
		for path in data config tmp; do
			mount -t tmpfs -o uid=65532,gid=65532,mode=0700 tmpfs "$root/$path"
		done
		! touch "$root/written" 2>/dev/null || { echo "the root can be written to"; exit 1; }
		mount -t proc proc /proc
		mount -t proc proc "$root/proc"
		! env -i $environment chroot --userspec=65532:65532 --groups= "$root" $check >/dev/null 2>&1 || { echo "healthy before it runs"; exit 1; }
		env -i $environment chroot --userspec=65532:65532 --groups= "$root" $command >"$dir/log" 2>&1 &
		pid=$!
		for i in $(seq 300); do
			env -i $environment chroot --userspec=65532:65532 --groups= "$root" $check >/dev/null 2>&1 && break
			kill -0 $pid || { cat "$dir/log"; exit 1; }
			sleep 0.1
		done
		grep '^Uid:' /proc/$pid/status
		printf 'Subject: hello\r\n\r\nIt works.\r\n' | curl -sS smtp://127.0.0.1:2525 --user demo@example.com:demo-password \
			--mail-from demo@example.com --mail-rcpt you@example.net --upload-file - || { cat "$dir/log"; exit 1; }
		curl -sS http://127.0.0.1:2580/messages
		kill $pid
		wait $pid
		echo "it ended well"
	`, "image", mounted, dir, strings.Join(c.Env, " "), strings.Join(append(c.Entrypoint, c.Cmd...), " "), strings.Join(c.Healthcheck.Test[1:], " "))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "you@example.net", "it ended well"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
