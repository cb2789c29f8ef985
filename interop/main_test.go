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

// Package interop drives the gateway with real software: clients and an MTA in
// front of it, a submission service and an authorization server behind it. The
// gateway is the binary that users build, with the sandbox as the provider
// inside it; what was delivered is counted at the sandbox.
//
// The tests run where MAILGATEWAY_INTEROP is set, and there a program that is
// missing fails them. They start their own instances of everything, on
// loopback, and end them.
package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const enableVariable = "MAILGATEWAY_INTEROP"

// gatewayBinary is the gateway, built once.
var gatewayBinary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(enableVariable) == "" {
		return m.Run() // every test skips
	}
	dir, err := os.MkdirTemp("", "mgw-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	gatewayBinary = filepath.Join(dir, "mailgateway")
	build := exec.Command("go", "build", "-o", gatewayBinary, "../xcaddy")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the gateway:", err)
		return 1
	}
	return m.Run()
}

// need skips the test where interoperability tests are off, and fails it where
// they are on and a program is missing. It returns the programs' paths.
func need(t *testing.T, programs ...string) []string {
	t.Helper()
	if os.Getenv(enableVariable) == "" {
		t.Skipf("%s is not set: tests against real software are off", enableVariable)
	}
	paths := make([]string, 0, len(programs))
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			t.Fatalf("%s: %v (see interop/README.md for what to install)", p, err)
		}
		paths = append(paths, path)
	}
	return paths
}
