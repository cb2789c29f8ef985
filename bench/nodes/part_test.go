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

package nodes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/system"
)

// part is a process that ends with the test, and with this process if that dies.
type part struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	log  string
}

// build builds one of the module's programs.
func build(t *testing.T, dir, name, pkg string) string {
	t.Helper()
	bin := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", bin, pkg).CombinedOutput(); err != nil { //nolint:gosec // ours
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	return bin
}

// start starts a process. Who hands it a setup talks with it by standard input and
// output; what it logs is in a file.
func start(t *testing.T, name string, setup any, path string, args ...string) *part {
	t.Helper()
	p := &part{t: t, name: name, cmd: exec.Command(path, args...)} //nolint:gosec // ours
	log, err := os.CreateTemp(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.log, p.cmd.Stderr = log.Name(), log
	system.DieWithParent(p.cmd)
	var out *os.File
	if setup != nil {
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe() // not StdoutPipe: Wait would close it before it is read
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		t.Cleanup(func() { _ = r.Close() })
		out, p.cmd.Stdout = r, w
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		if p.in != nil {
			_ = p.in.Close()
		}
		_ = p.cmd.Process.Signal(os.Interrupt)
		<-ended // a test that hangs is ended by go test, and this with it
	})
	if setup != nil {
		p.out = bufio.NewReaderSize(out, 1<<20)
		if err := json.NewEncoder(p.in).Encode(setup); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// answer reads one line of a part.
func (p *part) answer(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: %w: %s", p.name, err, p.tail())
	}
	return json.Unmarshal(line, v)
}

// tail is the end of what the part has logged.
func (p *part) tail() string {
	b, _ := os.ReadFile(p.log)
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

func (p *part) pid() int { return p.cmd.Process.Pid }

// target is a sink: what stands for the provider of one node.
type target struct {
	*part
	at   sink.Ready
	http *http.Client
}

func startSink(t *testing.T, bench string, set sink.Setup, client *http.Client) *target {
	t.Helper()
	s := &target{part: start(t, "sink", set, bench, "sink"), http: client}
	if err := s.answer(&s.at); err != nil {
		t.Fatal(err)
	}
	return s
}

// call asks the sink's control routes.
func (s *target) call(method, path string, out any) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+s.at.HTTP+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("sink: %s %s: %s %v", method, path, resp.Status, err)
	}
	if out == nil {
		return
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(out); err != nil {
		s.t.Fatal(err)
	}
}
