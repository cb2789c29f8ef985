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
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/sandbox"
)

// TestNodeStoppedBetweenLockAndRequest stops a node that has the lock of a token
// and has not got its answer, until another node has taken the lock over and spent
// the token. When it goes on, it must not send the spent one: a provider that is
// sent one ends the consent.
func TestNodeStoppedBetweenLockAndRequest(t *testing.T) {
	pg := testpg.Start(t)
	w := newProcessWorld(t,
		withSandbox(func(sb *sandbox.App) {
			sb.RotateRefreshTokens, sb.RotationGrace = true, false
			sb.TokenLifetime = caddy.Duration(time.Second)
		}),
		withUpstream("max_wait", "5s"),
		func(w *world, _ *sandbox.App) {
			w.config["storage"] = object{"module": "postgres", "dsn": pg.DSN(), "max_conns": 4}
			w.app("smtp_upstreams")["limits"] = object{"kind": "postgres", "dsn": pg.DSN(), "max_conns": 4, "lease": "5s", "grace": "1s"}
		})
	var (
		mu    sync.Mutex
		asked = make(map[string]int) // nodes by the refresh token that they got through with
		nodes [2]atomic.Pointer[node]
		first sync.Once
	)
	stopped := make(chan struct{})
	endpoint := func(i int) string {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			stops := false
			if i == 0 {
				first.Do(func() { stops = true })
			}
			if stops {
				// It has the lock, and is told to ask again.
				nodes[0].Load().signal(syscall.SIGSTOP)
				close(stopped)
				rw.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			form, _ := url.ParseQuery(string(raw))
			token := form.Get("refresh_token")
			mu.Lock()
			if by, ok := asked[token]; ok {
				t.Errorf("node %d sends a refresh token that node %d has spent", i, by)
			}
			asked[token] = i
			mu.Unlock()
			resp, err := http.Post(w.sandbox.HTTPURL()+"/token", r.Header.Get("Content-Type"), bytes.NewReader(raw))
			if err != nil {
				return
			}
			defer resp.Body.Close()
			rw.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
			rw.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(rw, resp.Body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for i, name := range []string{"node0", "node1"} {
		w.app("oauth_tokens")["providers"].(object)["sandbox"].(object)["token_url"] = endpoint(i)
		nodes[i].Store(w.runNode(name))
	}
	// sends waits until a node sends: it may have to wait for a lock or a share.
	sends := func(i int) {
		t.Helper()
		err := trySend(nodes[i].Load().addr, testUser, i)
		for end := time.Now().Add(2 * time.Minute); err != nil && time.Now().Before(end); {
			if strings.Contains(err.Error(), "consent again") {
				t.Fatalf("the consent is lost: node %d: %v", i, err)
			}
			time.Sleep(100 * time.Millisecond)
			err = trySend(nodes[i].Load().addr, testUser, i)
		}
		if err != nil {
			t.Fatalf("node %d does not send: %v\n%s", i, err, nodes[i].Load().out.String())
		}
	}
	go func() { _ = trySend(nodes[0].Load().addr, testUser, 0) }()
	<-stopped
	sends(1)
	nodes[0].Load().signal(syscall.SIGCONT)
	sends(0)
	sends(1)
}
