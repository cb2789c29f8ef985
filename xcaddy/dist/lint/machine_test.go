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
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a Debian of its own with systemd as its first process: in
// namespaces, on a tmpfs, without a network but its loopback.
type machine struct {
	t   *testing.T
	pid string // systemd's, outside
	dir string // a folder outside that the machine has as /srv
}

// boot starts one.
func boot(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can boot a machine")
	}
	debian := os.Getenv("LINT_DEBIAN")
	if debian == "" {
		t.Fatal("LINT_DEBIAN names no archive of a Debian system; `bash .ci/run package` makes one")
	}
	m := &machine{t: t, dir: t.TempDir()}
	cmd := exec.Command("sh", "-euc", `
		echo $$ >"$2/cgroup.procs"
		exec unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child --propagation private sh -euc '
			ip link set lo up
			hostname machine
			mkdir "$0/root"
			cd "$0/root"
			mount -t tmpfs -o mode=755 tmpfs .
			cd "$0/root"
			# systemd mounts what a unit is to see in /run, and units have namespaces
			# of their own: without this, secrets of LoadCredential= never arrive.
			mount --make-rshared .
			tar -xf "$1" --exclude="./dev/*"
			echo "127.0.0.1 localhost machine" >etc/hosts
			mount --bind "$0" srv
			mount -t proc proc proc
			mount -t sysfs sysfs sys
			mount -t cgroup2 cgroup2 sys/fs/cgroup
			mount -t tmpfs tmpfs run
			mount -t tmpfs -o mode=755 tmpfs dev
			for device in null zero full random urandom tty; do
				: >dev/$device
				mount --bind /dev/$device dev/$device
			done
			mkdir dev/pts dev/shm
			mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
			ln -s pts/ptmx dev/ptmx
			mount -t tmpfs tmpfs dev/shm
			exec chroot . /usr/bin/env -i container=lint PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
		' "$0" "$1"`, m.dir, absolute(t, debian), cgroup(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and systemd by --kill-child
		<-done
		if t.Failed() {
			t.Logf("the machine said:\n%s", &out)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		m.pid = systemdOf(cmd.Process.Pid)
		if m.pid != "" {
			// It exits with 1 where a service of Debian's cannot run here.
			if state, _ := m.try("systemctl is-system-running --wait"); strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded") {
				return m
			}
		}
		select {
		case <-done:
			t.Fatalf("systemd does not start; it needs root's right to mount and to make namespaces:\n%s", &out)
		case <-time.After(50 * time.Millisecond): // another process gives no other sign
		}
		if time.Now().After(deadline) {
			t.Fatalf("systemd is not up:\n%s", &out)
		}
	}
}

// cgroup makes a group of the unified hierarchy, which is gone after the test.
func cgroup(t *testing.T) string {
	t.Helper()
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(parent + "/unified"); err == nil {
		parent += "/unified" // beside the groups of version 1
	}
	dir, err := os.MkdirTemp(parent, "lint-")
	if err != nil {
		t.Fatalf("systemd needs a group of processes that it can divide, and there is none to be made here (a container without the right to?): %v", err)
	}
	t.Cleanup(func() {
		// Its processes are killed, and the kernel needs a moment.
		deadline := time.Now().Add(10 * time.Second)
		for {
			if err := removeGroups(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				return
			} else if time.Now().After(deadline) {
				t.Error(err)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return dir
}

// removeGroups removes a group and those within it, which have no files that
// can be removed.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// systemdOf is the process that another one has as its only child, once that
// is a systemd; before, it still has the root of this machine.
func systemdOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return ""
	}
	child := strings.TrimSpace(string(b))
	if name, err := os.ReadFile("/proc/" + child + "/comm"); err != nil || string(name) != "systemd\n" {
		return ""
	}
	return child
}

// enter is the command that runs another one in the machine.
func (m *machine) enter() []string {
	return []string{"nsenter", "--target", m.pid, "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--root",
		"/usr/bin/env", "--chdir=/", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
}

func (m *machine) try(script string) (string, error) {
	m.t.Helper()
	enter := m.enter()
	return run(m.t, nil, enter[0], append(enter[1:], "bash", "-euo", "pipefail", "-c", script)...)
}

// sh runs a script in the machine and returns what it prints.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		log, _ := m.try("journalctl --no-pager -n 40 -u mailgateway 2>&1")
		m.t.Fatalf("%s\n%v\n%s\n%s", script, err, out, log)
	}
	return strings.TrimSpace(out)
}

// main is the gateway's process.
func (m *machine) main() int {
	m.t.Helper()
	pid, err := strconv.Atoi(m.sh("systemctl show --property=MainPID --value mailgateway"))
	if err != nil || pid == 0 {
		m.t.Fatalf("the service does not run: %d, %v", pid, err)
	}
	return pid
}

// mail sends a message with the README's command, and counts what arrived.
func (m *machine) mail() int {
	m.t.Helper()
	m.sh(block(m.t, read(m.t, root+"/README.md"), "sh", "curl -sS smtp://"))
	var list struct{ Count int }
	if err := json.Unmarshal([]byte(m.sh("curl -sS http://127.0.0.1:2580/messages")), &list); err != nil {
		m.t.Fatal(err)
	}
	return list.Count
}
