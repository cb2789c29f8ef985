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

package testproc

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilled holds that no process outlives a test that is killed, not even one that is
// stopped.
func TestKilled(t *testing.T) {
	if mode := os.Getenv("TESTPROC_CHILD"); mode != "" {
		p := exec.Command("sleep", "3600")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		release := Kill(t, p.Process)
		if mode == "released" {
			release()
		}
		if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("process %d\n", p.Process.Pid)
		select {}
	}
	for mode, ends := range map[string]bool{"watched": true, "released": false} {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$") //nolint:gosec // this test
		child.Env = append(os.Environ(), "TESTPROC_CHILD="+mode)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		pid := 0
		for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
			if _, after, ok := strings.Cut(lines.Text(), "process "); ok {
				pid, _ = strconv.Atoi(after)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		if pid == 0 {
			t.Fatal("the child has started nothing")
		}
		if !ends {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Errorf("one that was let go: %v", err)
			}
			continue
		}
		// Nothing says when the watchdog has done its work but what it leaves.
		for deadline := time.Now().Add(30 * time.Second); !dead(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the process outlives its test")
			}
		}
	}
}

// dead reports whether a process has ended, though nobody may have waited for it: its
// parent may be a program that does not.
func dead(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && strings.HasPrefix(state, "Z")
}
