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

package interop

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/freeport"
	"github.com/caddymail/mailgateway/internal/testproc"
)

// patience is the outer bound of every wait; nothing is expected to need it.
const patience = 60 * time.Second

// output collects what a process writes, and can be waited on.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) wait(ctx context.Context, done func(string) bool) error {
	for {
		o.mu.Lock()
		found, changed := done(o.buf.String()), o.changed
		o.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// process is a long-running program, ended with the test.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error // how it ended; valid after done
}

var errEnded = errors.New("the process ended")

// start runs a program until the test ends; it is then sent SIGTERM.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: cmd.Args[0], cmd: cmd, out: newOutput(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release := testproc.Kill(t, cmd.Process)
	go func() {
		p.err = cmd.Wait()
		release()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, tail(p.out.String(), 40))
		}
	})
	return p
}

// stop ends the process as an operator would, and waits for it.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Errorf("%s (pid %d) did not end after SIGTERM", p.name, p.cmd.Process.Pid)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// waitOutput waits until the process has written the text.
func (p *process) waitOutput(text string) {
	p.t.Helper()
	p.waitOutputFunc(text, func(s string) bool { return strings.Contains(s, text) })
}

// waitOutputFunc waits until what the process has written satisfies done.
func (p *process) waitOutputFunc(what string, done func(string) bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.done:
			end(errEnded)
		case <-ctx.Done():
		}
	}()
	if err := p.out.wait(ctx, done); err != nil {
		p.t.Fatalf("%s: waiting for %q: %v\n%s", p.name, what, err, tail(p.out.String(), 100))
	}
}

// waitListening waits until something accepts connections at the address.
func (p *process) waitListening(addr string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-p.done:
			p.t.Fatalf("%s ended: %v\n%s", p.name, p.err, tail(p.out.String(), 100))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not listen on %s: %v\n%s", p.name, addr, err, tail(p.out.String(), 100))
		}
	}
}

// command runs a program to its end and returns what it wrote. stdin may be nil.
func command(t testing.TB, stdin []byte, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// succeed is command for programs that must succeed.
func succeed(t testing.TB, stdin []byte, name string, args ...string) string {
	t.Helper()
	out, err := command(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// freeAddrs are loopback addresses that nothing listened on a moment ago.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		var err error
		if addrs[i], err = freeport.Loopback(); err != nil {
			t.Fatal(err)
		}
	}
	return addrs
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// publicDir is a temporary directory that other users may enter, with a path
// short enough for Unix sockets: t.TempDir is neither.
func publicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mgw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
