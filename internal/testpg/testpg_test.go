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
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilled holds that no server outlives a test that is killed.
func TestKilled(t *testing.T) {
	if os.Getenv("TESTPG_CHILD") != "" {
		s := Start(t)
		fmt.Printf("server %s %s\n", s.addr, s.data)
		select {}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 && os.Getenv("MAILGATEWAY_INTEROP") == "" {
		t.Skip("PostgreSQL is not installed")
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$") //nolint:gosec // this test
	child.Env = append(os.Environ(), "TESTPG_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var addr, data string
	lines := bufio.NewScanner(out)
	for addr == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "server "); ok {
			addr, data, _ = strings.Cut(after, " ")
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if addr == "" {
		t.Fatal("the child has started no server")
	}
	// Nothing says when the watchdog has done its work but what it leaves.
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, dialed := net.Dial("tcp", addr)
		if dialed == nil {
			_ = c.Close()
		}
		_, there := os.Stat(data)
		if dialed != nil && os.IsNotExist(there) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server outlives its test: dial %v, files %v", dialed, there)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
