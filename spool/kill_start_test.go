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

//go:build linux

package spool

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// startCalls are the system calls of a start: it looks, locks, syncs, lists, removes what
// nobody was promised and what is settled, and writes what it tries.
var startCalls = []string{"openat", "flock", "/^newfstatat|^fstat", "getdents64", "pread64", "fsync", "/^unlink", "pwrite64", "close", "/^rename"}

// TestKilledAtStart kills the process at the system calls of its start, on what another
// one left that was killed at a step, again and again on one directory.
// MAILGATEWAY_SPOOL_STARTS is how many (default 20).
func TestKilledAtStart(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("MAILGATEWAY_INTEROP") != "" {
			t.Fatal("strace is missing: apt-get install strace")
		}
		t.Skip(err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "true").CombinedOutput(); err != nil { //nolint:gosec // the tracer that was found
		t.Skipf("strace: %v\n%s", err, out)
	}
	starts := 20
	if n, err := strconv.Atoi(os.Getenv("MAILGATEWAY_SPOOL_STARTS")); err == nil {
		starts = n
	}
	k := newKilling(t)
	met := 0
	for i := range starts {
		k.run(killOps[i%len(killOps)], 1+rand.IntN(40))
		call := startCalls[i%len(startCalls)]
		// Each thread counts its own calls, and those in front of the start's are the
		// program's: some meet none of its.
		if k.run("", 0, strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, 1+rand.IntN(30))) {
			met++
		}
	}
	k.run("", 0)
	t.Logf("%d starts, killed at a call %d times", starts, met)
	k.judge()
}
