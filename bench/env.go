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

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/system"
)

// proc is a child process. It is ended by its own identifier, and by the
// kernel if this process dies.
type proc struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	log   string
	more  string // another log, shown if that one is empty
	done  chan struct{}
	err   error
}

// start starts a child with its standard error, and its standard output
// unless piped, in a file of the working directory.
func (e *env) start(name string, piped bool, env []string, path string, args ...string) (*proc, error) {
	e.serial++
	p := &proc{name: name, log: filepath.Join(e.dir, fmt.Sprintf("%s-%d.log", name, e.serial)), done: make(chan struct{})}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir = e.dir
	p.cmd.Stderr = f
	system.DieWithParent(p.cmd)
	var out *os.File
	if piped {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		// Not StdoutPipe: Wait would close it before it is read.
		var w *os.File
		if out, w, err = os.Pipe(); err != nil {
			return nil, err
		}
		defer w.Close()
		p.cmd.Stdout = w
		p.out = bufio.NewReaderSize(out, 1<<20)
	} else {
		p.cmd.Stdout = f
	}
	if err := p.cmd.Start(); err != nil {
		if out != nil {
			_ = out.Close()
		}
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	e.procs[p] = struct{}{}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// self starts this program again as one of its parts and hands it its setup.
func (e *env) self(part string, setup any) (*proc, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := e.start(part, true, nil, exe, part)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(p.stdin).Encode(setup); err != nil {
		return nil, errors.Join(err, e.stop(p))
	}
	return p, nil
}

// answer reads one JSON line of a part.
func (p *proc) answer(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: %w: %s", p.name, err, p.tail())
	}
	return json.Unmarshal(line, v)
}

// tail is the end of the child's log.
func (p *proc) tail() string {
	b, _ := os.ReadFile(p.log)
	if len(bytes.TrimSpace(b)) == 0 && p.more != "" {
		b, _ = os.ReadFile(p.more)
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return strings.TrimSpace(string(b))
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// stop ends a child and waits for it.
func (e *env) stop(p *proc) error {
	if p == nil {
		return nil
	}
	delete(e.procs, p)
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		select {
		case <-p.done:
			return nil
		default:
		}
		_ = p.cmd.Process.Signal(s)
		select {
		case <-p.done:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return fmt.Errorf("%s (pid %d) does not end", p.name, p.pid())
}

// env is what all rows share: directory, certificates, binaries, the sink.
type env struct {
	o      options
	dir    string
	root   string
	commit string
	caddy  string
	pki    pki
	sink   *proc
	at     sink.Ready
	http   *http.Client
	procs  map[*proc]struct{}
	serial int
	runID  uint32
	files  uint64
}

// build builds the gateway.
func (e *env) build(binary string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", binary}, flags...), "./xcaddy")...) //nolint:gosec // ours
	cmd.Dir = e.root
	system.DieWithParent(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the gateway failed: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

func newEnv(o options) (_ *env, err error) {
	e := &env{o: o, procs: make(map[*proc]struct{}), files: system.RaiseFileLimit(), runID: uint32(time.Now().Unix())}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.root, err = moduleRoot(); err != nil {
		return nil, err
	}
	e.commit = commit(e.root)
	if e.dir, err = os.MkdirTemp("", "mailgateway-bench-"); err != nil {
		return nil, err
	}
	if e.pki, err = newPKI(e.dir); err != nil {
		return nil, err
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return nil, err
		}
	}
	if e.caddy = o.caddy; e.caddy == "" {
		e.caddy = filepath.Join(e.dir, "caddy")
		log.Print("building the gateway: go build ./xcaddy")
		if err := e.build(e.caddy); err != nil {
			// The rows without a gateway are still worth having.
			log.Print("its rows are left out: ", err)
			e.caddy = ""
		}
	} else if e.caddy, err = filepath.Abs(e.caddy); err != nil {
		return nil, err
	}
	if e.sink, err = e.self("sink", sink.Setup{CA: e.pki.ca, Cert: e.pki.cert, Key: e.pki.key}); err != nil {
		return nil, err
	}
	if err = e.sink.answer(&e.at); err != nil {
		return nil, err
	}
	cfg, err := clientTLS(e.pki.ca)
	if err != nil {
		return nil, err
	}
	e.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg}}
	return e, nil
}

// close stops every child and removes the working directory.
func (e *env) close() error {
	var errs []error
	for p := range e.procs {
		errs = append(errs, e.stop(p))
	}
	if e.o.keep && e.dir != "" {
		log.Print("working directory kept: ", e.dir)
	} else if e.dir != "" {
		errs = append(errs, os.RemoveAll(e.dir))
	}
	return errors.Join(errs...)
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("run bench inside the module")
	}
	return filepath.Dir(mod), nil
}

// commit names the tree that is measured.
func commit(root string) string {
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	c := git("rev-parse", "--short=12", "HEAD")
	if c == "" {
		return "unknown"
	}
	if git("status", "--porcelain", "--untracked-files=no") != "" {
		c += " with local changes"
	}
	return c
}

// call talks to the sink's control routes.
func (e *env) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+e.at.HTTP+path, body)
	if err != nil {
		return err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("sink: %s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (e *env) policy(ctx context.Context, p sink.Policy) error {
	return e.call(ctx, http.MethodPut, "/policy", p, nil)
}

// newRun makes the sink count anew and returns the run's number.
func (e *env) newRun(ctx context.Context) (uint32, error) {
	e.runID++
	return e.runID, e.call(ctx, http.MethodPut, "/run/"+sink.RunName(e.runID), nil, nil)
}

func (e *env) stats(ctx context.Context, bitmap bool) (st sink.Stats, err error) {
	path := "/stats"
	if bitmap {
		path += "?bitmap"
	}
	return st, e.call(ctx, http.MethodGet, path, nil, &st)
}
