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

// Package testproc has processes end with the test that started them, however it ends:
// a test that is killed, or that panics, runs no cleanup. It imports nothing of ours.
package testproc

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// Kill kills a process when the test binary has ended, unless release was called
// before: when the process has been waited for. A process that is stopped ends too.
func Kill(tb testing.TB, p *os.Process) (release func()) {
	tb.Helper()
	return Watch(tb, `kill -9 "$1"`, strconv.Itoa(p.Pid))
}

// Watch has a shell run a script when the test binary has ended, unless release was
// called before.
func Watch(tb testing.TB, script string, args ...string) (release func()) {
	tb.Helper()
	// The pipe's only other end is this process: no child inherits it. A line is the
	// test's farewell, the end without one its death.
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("sh", append([]string{"-c", "read farewell && exit 0\n" + script, "watchdog"}, args...)...) //nolint:gosec // a test's
	cmd.Stdin = r
	// A signal to the test's process group, as by Control-C, is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	return func() {
		_, _ = w.WriteString("ended\n")
		_ = w.Close()
		_ = cmd.Wait()
	}
}
