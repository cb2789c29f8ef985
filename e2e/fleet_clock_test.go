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

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// clockSource is a file of package time. MAILGATEWAY_TEST_CLOCK says by how many
// seconds the wall clock is off: from the start, after how many seconds it is set
// anew, and by how many it is off then. The monotonic clock goes as it does.
const clockSource = `package time

import "syscall"

var clockFirst, clockAfter, clockThen = clockOff()

func clockOff() (first, after, then int64) {
	text, _ := syscall.Getenv("MAILGATEWAY_TEST_CLOCK")
	out := [3]*int64{&first, &after, &then}
	i, sign := 0, int64(1)
	for _, c := range []byte(text) {
		switch {
		case c == '-':
			sign = -1
		case c == ',':
			i, sign = i+1, 1
		default:
			*out[i] = *out[i]*10 + sign*int64(c-'0')
		}
	}
	return first, after, then
}

func clockIsOff(mono int64) int64 {
	if clockAfter > 0 && mono-startNano > clockAfter*int64(Second) {
		return clockThen
	}
	return clockFirst
}
`

// skewedBuild builds a gateway whose wall clock can be wrong, as that of a machine
// is: no process can be told so from outside, since Go asks the kernel's page, not
// libc, which libfaketime stands in front of.
var skewedBuild = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mailgateway-bin")
	if err != nil {
		return "", err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	pkg := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	source, err := os.ReadFile(filepath.Join(pkg, "time.go"))
	if err != nil {
		return "", err
	}
	const asks = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	if strings.Count(string(source), asks) != 1 {
		return "", errors.New("package time is not as it was when this test was written: see fleet_clock_test.go")
	}
	files := map[string]string{
		"time.go":  strings.Replace(string(source), asks, "\tsec, nsec, mono := runtimeNow()\n\tsec += clockIsOff(mono)\n\tif mono == 0 {", 1),
		"clock.go": clockSource,
	}
	replace := make(map[string]string)
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(pkg, name)] = file
	}
	overlay := filepath.Join(dir, "overlay.json")
	raw, err := json.Marshal(object{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "mailgateway")
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", bin, "../xcaddy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building ../xcaddy: %w\n%s", err, out)
	}
	return bin, nil
})
