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
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// short makes the endpoint's tokens last one second, so that copies in the
// store are not taken for fresh and every call is a rotation.
func short(s *endpoint) *endpoint {
	s.expires = 0.001
	return s
}

func TestCrashAtEveryStep(t *testing.T) {
	for _, at := range []string{"lock:1", "load:1", "load:2", "save:1", "saved:1", "unlock:1", "lock:2", "load:3", "save:2", "saved:2", "unlock:2"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := short(newEndpoint(t))
			dir := t.TempDir()
			c := &child{Config: config(dir, s.URL, nil), Accounts: map[string]string{"alice": s.seed("alice")}, URL: s.URL, Rounds: 3, CrashAt: at}
			cmd, lines := c.start(t)
			if last := end(cmd, lines); last == "done" || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %q, %s", last, cmd.ProcessState)
			}
			c.CrashAt = ""
			if last := end(c.start(t)); last != "done" {
				t.Fatalf("after the crash: %s", last)
			}
			if f := s.family("alice"); f.revoked {
				t.Fatalf("the refresh token was lost: %+v", f)
			}
		})
	}
}

// The endpoint dies, or its answer gets lost, at each of its steps.
func TestLostAnswers(t *testing.T) {
	hang := func(w http.ResponseWriter) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			c.Close()
		}
	}
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request, n int, after bool) bool{
		"before the grant": func(w http.ResponseWriter, _ *http.Request, n int, after bool) bool {
			if after || n%2 == 0 {
				return false
			}
			hang(w)
			return true
		},
		"after the grant": func(w http.ResponseWriter, _ *http.Request, n int, after bool) bool {
			if !after || n%2 == 0 {
				return false
			}
			hang(w)
			return true
		},
		"in the middle of the answer": func(w http.ResponseWriter, _ *http.Request, n int, after bool) bool {
			if !after || n%2 == 0 {
				return false
			}
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"access_token":"half`))
			return true
		},
		"server error after the grant": func(w http.ResponseWriter, _ *http.Request, n int, after bool) bool {
			if !after || n%2 == 0 {
				return false
			}
			w.WriteHeader(502)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEndpoint(t)
			s.setFault(fault)
			a := newApp(t, config(t.TempDir(), s.URL, nil))
			seed := s.seed("alice")
			for range 20 {
				if !s.use(mustToken(t, a.App, "p", "alice", seed)) {
					t.Fatal("not valid")
				}
				a.expire("alice")
			}
			if f := s.family("alice"); f.revoked {
				t.Fatalf("%+v", f)
			}
		})
	}
}

func TestKillDuringRotations(t *testing.T) {
	t.Parallel()
	s := short(newEndpoint(t))
	dir := t.TempDir()
	c := &child{Config: config(dir, s.URL, nil), Accounts: map[string]string{}, URL: s.URL, Workers: 4}
	for i := range 8 {
		n := fmt.Sprint("account", i)
		c.Accounts[n] = s.seed(n)
	}
	rotations := func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.families {
			n += f.n - 1
		}
		return n
	}
	kills := 0
	for rotations() < 200 {
		cmd, lines := c.start(t)
		// Killed after another number of requests each time, at whatever
		// step the eight accounts are then.
		target := s.count() + 17 + 3*kills
		for s.count() < target {
			select {
			case l, ok := <-lines:
				if !ok || len(l) > 5 && l[:5] == "error" {
					t.Fatalf("the child ended: %s", l)
				}
			case <-time.After(time.Millisecond):
			}
		}
		_ = cmd.Process.Signal(syscall.SIGKILL)
		end(cmd, lines)
		kills++
	}
	c.Rounds = 2
	if last := end(c.start(t)); last != "done" {
		t.Fatal(last)
	}
	for n := range c.Accounts {
		if f := s.family(n); f.revoked || f.reused > 0 {
			t.Errorf("%s was lost: %+v", n, f)
		}
	}
	t.Logf("%d rotations, %d kills", rotations(), kills)
}

// Two processes refresh the same accounts, with the locks of Caddy's file
// storage as it is.
func TestTwoProcessesOneStorage(t *testing.T) {
	t.Parallel()
	s := newEndpoint(t)
	s.expires = 1
	dir := t.TempDir()
	cfg := config(dir, s.URL, nil)
	cfg["store"] = map[string]any{"store": "files", "path": dir}
	c := &child{Config: cfg, Accounts: map[string]string{}, URL: s.URL, Workers: 8, Rounds: 8, Pause: 400 * time.Millisecond}
	for i := range 8 {
		n := fmt.Sprint("account", i)
		c.Accounts[n] = s.seed(n)
	}
	var wg sync.WaitGroup
	for range 2 {
		cmd, lines := c.start(t)
		wg.Add(1)
		go func(cmd *exec.Cmd, lines <-chan string) {
			defer wg.Done()
			if last := end(cmd, lines); last != "done" {
				t.Error(last)
			}
		}(cmd, lines)
	}
	wg.Wait()
	rotated := 0
	for n := range c.Accounts {
		f := s.family(n)
		rotated += f.n - 1
		if f.revoked || f.reused > 0 {
			t.Errorf("%s was lost: %+v", n, f)
		}
	}
	if s.count() != rotated {
		t.Errorf("%d requests for %d rotations", s.count(), rotated)
	}
	t.Logf("%d requests for 2*8*%d uses", s.count(), c.Rounds)
}

// An account whose record another process has locked waits for it; the others
// don't.
func TestLockOfAnother(t *testing.T) {
	t.Parallel()
	s := newEndpoint(t)
	dir := t.TempDir()
	cfg := config(dir, s.URL, map[string]any{"max_parallel": 1})
	cfg["store"] = map[string]any{"store": "files", "path": dir}
	a := newApp(t, cfg)
	other := tokenstore.NewStorageStore(&certmagic.FileStorage{Path: dir})
	key := tokenstore.StorageKey("p", "stuck")
	if err := other.Lock(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	stuck := make(chan error, 1)
	seed := s.seed("stuck")
	go func() {
		_, err := a.Token(context.Background(), ask("p", "stuck", "stuck", seed))
		stuck <- err
	}()
	for a.entryOf("stuck") == nil {
		time.Sleep(time.Millisecond)
	}
	// With a single slot, which the stuck account must not keep.
	mustToken(t, a.App, "p", "alice", s.seed("alice"))
	select {
	case err := <-stuck:
		t.Fatalf("the lock did not hold: %v", err)
	default:
	}
	if err := other.Unlock(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := <-stuck; err != nil {
		t.Fatal(err)
	}
}
