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

package oauthtoken

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// child is what a test has another process do: this test binary again.
type child struct {
	Config   map[string]any
	Accounts map[string]string // name: seed
	Workers  int
	// Rounds is the number of refreshes for each account; 0: until killed.
	Rounds int
	// Pause is the time between the rounds, in which tokens expire.
	Pause time.Duration
	// CrashAt kills the process at the n-th of a kind of store operation,
	// as in `save:1`.
	CrashAt string
	URL     string
}

const childEnv = "OAUTHTOKEN_TEST_CHILD"

// childMain runs the child and says so, or does nothing.
func childMain() bool {
	spec := os.Getenv(childEnv)
	if spec == "" {
		return false
	}
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if err := c.run(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("done")
	return true
}

func (c *child) run() error {
	go func() {
		// The parent is gone: so are we.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	if op, n, ok := strings.Cut(c.CrashAt, ":"); ok {
		at, _ := strconv.Atoi(n)
		var mu sync.Mutex
		path := c.Config["store"].(map[string]any)["path"].(string)
		hooksOf(path).set(func(o, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if o == op {
				if at--; at == 0 {
					self, _ := os.FindProcess(os.Getpid())
					_ = self.Kill()
					select {}
				}
			}
			return nil
		})
	}
	a, err := loadApp(c.Config)
	if err != nil {
		return err
	}
	defer a.stop()
	jobs := make(chan string)
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	for range max(c.Workers, 1) {
		wg.Go(func() {
			for name := range jobs {
				if err := c.refresh(a, name); err != nil {
					select {
					case errs <- fmt.Errorf("%s: %w", name, err):
					default:
					}
				}
			}
		})
	}
	for round := 0; c.Rounds == 0 || round < c.Rounds; round++ {
		for name := range c.Accounts {
			jobs <- name
		}
		fmt.Println("round", round)
		time.Sleep(c.Pause)
	}
	close(jobs)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// refresh gets a new token and uses it, as a message would.
func (c *child) refresh(a *testApp, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	tok, err := a.Token(ctx, ask("p", name, name, c.Accounts[name]))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/use", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", tok.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the access token is not valid: HTTP %d", resp.StatusCode)
	}
	e := a.entryOf(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	if g := e.cur.Load(); g != nil && g.token == tok {
		e.cur.Store(nil) // as if it had expired
	}
	return nil
}

// start runs the child. lines are what it says.
func (c *child) start(t testing.TB) (*exec.Cmd, <-chan string) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 10000)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	t.Cleanup(func() { stdin.Close(); _ = cmd.Process.Kill() })
	return cmd, lines
}

// end waits for the child and returns the last thing it said.
func end(cmd *exec.Cmd, lines <-chan string) string {
	last := ""
	for l := range lines {
		last = l
	}
	_ = cmd.Wait()
	return last
}
