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

package firstrun

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestWanted(t *testing.T) {
	for _, tc := range []struct {
		args      string
		caddyfile bool
		want      bool
	}{
		{"mailgateway run", false, true},
		{"mailgateway run", true, false},
		{"mailgateway run --watch", false, true},
		{"mailgateway run --watch --pingback 127.0.0.1:1", false, false},
		{"mailgateway run -w", false, true},
		{"mailgateway run --config /etc/mailgateway/Caddyfile", false, false},
		{"mailgateway run --config=x", false, false},
		{"mailgateway run -c x", false, false},
		{"mailgateway run -wc x", false, false},
		{"mailgateway run -cx", false, false},
		{"mailgateway run --resume", false, false},
		{"mailgateway run -r", false, false},
		{"mailgateway run --help", false, false},
		{"mailgateway run -h", false, false},
		{"mailgateway start", false, false},
		{"mailgateway", false, false},
		{"mailgateway help run", false, false},
	} {
		if got := Wanted(strings.Fields(tc.args), tc.caddyfile); got != tc.want {
			t.Errorf("%s (Caddyfile there: %t): %t", tc.args, tc.caddyfile, got)
		}
	}
}

func TestPrepare(t *testing.T) {
	args, stdin := os.Args, os.Stdin
	t.Cleanup(func() { os.Args, os.Stdin = args, stdin })
	t.Chdir(t.TempDir())
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	others := listens
	listens = nil
	t.Cleanup(func() { listens = others })
	os.Args = []string{"mailgateway", "run"}
	example := bytes.Repeat([]byte("example\n"), 1<<14) // more than a pipe holds
	var said bytes.Buffer
	if err := Prepare(example, &said); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mailgateway", "run", "--config", "-", "--adapter", "caddyfile"}; !slices.Equal(os.Args, want) {
		t.Errorf("args %q", os.Args)
	}
	if got, err := io.ReadAll(os.Stdin); err != nil || !bytes.Equal(got, example) {
		t.Errorf("%d bytes on standard input (%v)", len(got), err)
	}
	if lines := strings.Count(said.String(), "\n"); lines != 3 {
		t.Errorf("%d lines: %s", lines, &said)
	}

	os.Args, os.Stdin = []string{"mailgateway", "run", "--config", "x"}, stdin
	said.Reset()
	if err := Prepare(example, &said); err != nil || said.Len() > 0 || len(os.Args) != 4 || os.Stdin != stdin {
		t.Errorf("with a configuration: %v, %q, %q", err, os.Args, &said)
	}
}

// TestSlips holds that a command line without a configuration that means to have
// one is refused.
func TestSlips(t *testing.T) {
	args, stdin := os.Args, os.Stdin
	t.Cleanup(func() { os.Args, os.Stdin = args, stdin })
	t.Chdir(t.TempDir())
	for line, want := range map[string]string{
		"mailgateway run Caddyfile":                       "run takes no file by itself: run --config Caddyfile",
		"mailgateway run --watch my.Caddyfile":            "run takes no file by itself: run --config my.Caddyfile",
		"mailgateway run -w Caddyfile":                    "run takes no file by itself: run --config Caddyfile",
		"mailgateway start Caddyfile":                     "start takes no file by itself: start --config Caddyfile",
		"mailgateway start":                               "start needs --config FILE",
		"mailgateway start --pidfile x":                   "start needs --config FILE",
		"mailgateway start --config Caddyfile":            "",
		"mailgateway start -h":                            "",
		"mailgateway run --config Caddyfile":              "",
		"mailgateway run -wc Caddyfile":                   "",
		"mailgateway run -cCaddyfile --adapter caddyfile": "",
		"mailgateway run -c Caddyfile -a caddyfile":       "",
		"mailgateway run --resume --envfile x":            "",
		"mailgateway run --pingback 127.0.0.1:1":          "",
		"mailgateway validate Caddyfile":                  "",
	} {
		os.Args = strings.Fields(line)
		err := Prepare(nil, io.Discard)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
		if strings.Join(os.Args, " ") != line {
			t.Errorf("%s became %v", line, os.Args)
		}
	}
}

// TestRepeat holds that where to look is said once more when there is
// something to be seen.
func TestRepeat(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	defer l.Close()
	var said bytes.Buffer
	repeat(&said, address)
	if strings.Count(said.String(), "Look:") != 1 || !strings.Contains(words, "http://"+pages+"/") {
		t.Errorf("said %q", &said)
	}
}

// TestRoom is that the sandbox says beforehand what it lacks, and takes nothing
// from who has it.
func TestRoom(t *testing.T) {
	args, stdin, others := os.Args, os.Stdin, listens
	t.Cleanup(func() { os.Args, os.Stdin, listens = args, stdin, others })
	t.Chdir(t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	for _, tc := range []struct {
		listens []string
		data    string
		want    []string
	}{
		{[]string{"127.0.0.1:0", taken}, data, []string{taken, "Another gateway runs", "--config FILE"}},
		{nil, file, []string{file, "XDG_DATA_HOME"}}, // a file is no folder, for root too
		{nil, data, nil},
	} {
		os.Args, os.Stdin, listens = []string{"mailgateway", "run"}, stdin, tc.listens
		t.Setenv("XDG_DATA_HOME", tc.data)
		var said bytes.Buffer
		err := Prepare([]byte("example"), &said)
		if (err == nil) != (tc.want == nil) || (said.Len() > 0) != (err == nil) || (len(os.Args) > 2) != (err == nil) {
			t.Errorf("%+v: %v, %q, %q", tc, err, os.Args, &said)
		}
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %v", want, err)
			}
		}
	}
	if left, err := os.ReadDir(data + "/caddy"); err != nil || len(left) > 0 {
		t.Errorf("left %v (%v)", left, err)
	}
}

// TestSend is that each system is told a command of its shells.
func TestSend(t *testing.T) {
	if !strings.Contains(words, "Send:  "+send(runtime.GOOS)+"\n") {
		t.Errorf("words are %q", words)
	}
	if s := send("windows"); strings.ContainsAny(s, "'|") || !strings.HasPrefix(s, "curl.exe ") {
		t.Errorf("Windows is told %q", s)
	}
}
