// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package presence

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"
)

// inHelper has the folder of a storage that a process of the test enters.
const inHelper = "MAILGATEWAY_TEST_PRESENCE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(inHelper); dir != "" {
		if _, err := Enter(&certmagic.FileStorage{Path: dir}, []string{":2525"}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("entered")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until it is killed, or the test ends
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestOthers: another process is seen as long as it lives, also when it is
// killed, and this one is not among them whatever configuration it has.
func TestOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such locks")
	}
	st := &certmagic.FileStorage{Path: t.TempDir()}
	want := func(what string, n int) []Process {
		t.Helper()
		others, err := Others(st)
		if err != nil || len(others) != n {
			t.Fatalf("%s: %+v, %v; want %d", what, others, err, n)
		}
		return others
	}
	want("nobody was there yet", 0)
	release, err := Enter(st, []string{":25"})
	if err != nil {
		t.Fatal(err)
	}
	next, err := Enter(st, []string{":587"})
	if err != nil {
		t.Fatal(err)
	}
	release()
	want("alone, after a reload", 0)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inHelper+"="+st.Path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "entered" {
		t.Fatalf("%q, %v", line, err)
	}
	other := want("a second process", 1)[0]
	host, _ := os.Hostname()
	if other.PID != cmd.Process.Pid || other.Host != host || !slices.Equal(other.Listen, []string{":2525"}) || other.Since.IsZero() {
		t.Errorf("%+v", other)
	}
	next()
	want("having left", 1)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	want("after its end", 0)
}
