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

//go:build unix

package testpg

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// owner gives dir to the user that the server runs as, in place of root, which
// PostgreSQL refuses to run as.
func owner(tb testing.TB, dir string) *syscall.SysProcAttr {
	u, err := user.Lookup("postgres")
	if err != nil {
		tb.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	// The user must get to its files.
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { //nolint:gosec // a test's directory
		tb.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil { //nolint:gosec // 32 bits
		tb.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// give gives a file to the user that the server runs as.
func give(tb testing.TB, file string, as *syscall.SysProcAttr) {
	tb.Helper()
	if err := os.Chown(file, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
		tb.Fatal(err)
	}
}

// crash kills the server whose files are in data. Its other processes end when
// they see that.
func crash(tb testing.TB, data string) {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		tb.Fatal(err)
	}
	line, _, _ := strings.Cut(string(file), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		tb.Fatal(err)
	}
}

// watchdog is SIGQUIT, PostgreSQL's immediate shutdown, and nothing else would remove
// the directory.
const watchdog = `pid=$(head -n 1 "$2/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
rm -rf "$1"`
