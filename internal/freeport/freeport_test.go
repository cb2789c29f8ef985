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

package freeport

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/caddymail/mailgateway/internal/filelock"
)

// TestMain is the other process of TestProcessesHaveTheirOwn, too: it is given
// half of the ports from the one named, and has them until its input ends.
func TestMain(m *testing.M) {
	from, err := strconv.Atoi(os.Getenv("FREEPORT_FROM"))
	if err != nil {
		os.Exit(m.Run())
	}
	for range some / 2 {
		if addr, err := loopback(from, from+some-1); err == nil {
			fmt.Println(addr)
		}
	}
	fmt.Println("done")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

const some = 20

// TestProcessesHaveTheirOwn holds that two processes that look for ports at the
// same time are never given the same one, though nothing listens on it yet.
func TestProcessesHaveTheirOwn(t *testing.T) {
	if !filelock.HasBytes {
		t.Skip("bytes of files are not locked here")
	}
	from := first + rand.IntN(last-first-some) // anew in each run: ports stay taken
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FREEPORT_FROM="+strconv.Itoa(from))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	theirs := make(map[string]bool)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "done" {
		theirs[lines.Text()] = true
	}
	if len(theirs) == 0 {
		t.Skip("other programs have all of these ports")
	}
	for {
		addr, err := loopback(from, from+some-1)
		if err != nil {
			return // all that are left were given out
		}
		if theirs[addr] {
			t.Fatalf("%s is the other process's", addr)
		}
	}
}

func TestLoopback(t *testing.T) {
	seen := make(map[string]bool)
	for range 500 {
		addr, err := Loopback()
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] {
			t.Fatalf("%s twice", addr)
		}
		seen[addr] = true
	}
	for addr := range seen {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		break
	}
}
