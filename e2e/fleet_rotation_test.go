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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/sandbox"
)

// exchanges watches the nodes' requests for tokens, between each of them and the
// provider. A request is open until the new refresh token is in the nodes' storage.
// A message that was accepted proves nothing of it: it may have gone by the access
// token from before, while the next ones were on their way.
type exchanges struct {
	mu     sync.Mutex
	owners map[string]string // mailboxes by refresh token
	open   map[string]exchange
	count  int
	reused map[string]bool // mailboxes of which the provider got a used token
	stored func(token string) bool
}

type exchange struct {
	node     int
	token    string    // the new one
	answered time.Time // zero: not yet
}

// endpoint is the token endpoint as a node knows it.
func (x *exchanges) endpoint(t *testing.T, node int, provider string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(raw))
		mailbox := x.asked(node, form.Get("refresh_token"))
		// Nothing of the node's end reaches the provider: it has the request.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, provider, bytes.NewReader(raw))
		if err != nil {
			return
		}
		req.Header = r.Header.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		x.answered(node, mailbox, resp.StatusCode, answer)
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func (x *exchanges) asked(node int, token string) (mailbox string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	mailbox, ok := x.owners[token]
	if !ok {
		mailbox = strings.TrimPrefix(token, "rt-")
	}
	x.open[mailbox] = exchange{node: node}
	return mailbox
}

func (x *exchanges) answered(node int, mailbox string, status int, answer []byte) {
	var a struct {
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer, &a)
	x.mu.Lock()
	defer x.mu.Unlock()
	if status != http.StatusOK {
		x.reused[mailbox] = true
		return
	}
	x.count++
	x.owners[a.RefreshToken] = mailbox
	x.open[mailbox] = exchange{node: node, token: a.RefreshToken, answered: time.Now()}
}

// onTheWay returns what is open of a node that was killed at a time and is dead, and
// how long before that it was answered; what is not answered yet is less than
// nothing.
func (x *exchanges) onTheWay(node int, at time.Time) map[string]time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make(map[string]time.Duration)
	for mailbox, e := range x.open {
		if e.node != node {
			continue
		}
		delete(x.open, mailbox)
		switch {
		case e.answered.IsZero():
			list[mailbox] = at.Sub(time.Now())
		case !x.stored(e.token):
			list[mailbox] = at.Sub(e.answered)
		}
	}
	return list
}

// inStorage reports whether any value of the nodes' storage has a text in it.
func inStorage(t *testing.T, dsn, text string) (there bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM mailgateway.storage WHERE position($1::bytea IN value) > 0)", []byte(text)).Scan(&there); err != nil {
		t.Fatal(err)
	}
	return there
}

func (x *exchanges) rotations() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count
}

// TestNodesKilledDuringRotations kills three nodes in turn while they send for
// mailboxes whose provider gives a new refresh token at each use, and ends a
// consent when a used one comes back. A consent is lost if the answer of the
// provider was on its way when the node was killed, which no gateway can help;
// and no other.
func TestNodesKilledDuringRotations(t *testing.T) {
	const mailboxes = 60
	rotations, each := 200, 40 // a kill
	if _, long := kills(t); long {
		rotations, each = 500, 50
	}
	pg := testpg.StartPair(t)
	opts := []option{
		withSandbox(func(sb *sandbox.App) {
			sb.RotateRefreshTokens, sb.RotationGrace, sb.KeepBodies = true, false, false
			sb.TokenLifetime = caddy.Duration(time.Second)
		}),
		withUpstream("max_messages_per_conn", 1), // each message needs a token
		withUpstream("max_wait", "5s"),
		func(w *world, _ *sandbox.App) {
			w.config["storage"] = object{"module": "postgres", "dsn": pg.DSN(), "max_conns": 4}
			w.app("smtp_upstreams")["limits"] = object{"kind": "postgres", "dsn": pg.DSN(), "max_conns": 4, "lease": "5s", "grace": "1s"}
		},
	}
	user := func(i int) string { return fmt.Sprintf("box%d@example.com", i) }
	for i := range mailboxes {
		opts = append(opts, withAccount(account(user(i), user(i))))
	}
	w := newProcessWorld(t, opts...)
	x := &exchanges{
		owners: make(map[string]string), open: make(map[string]exchange), reused: make(map[string]bool),
		stored: func(token string) bool { return inStorage(t, pg.DSN(), token) },
	}
	var (
		nodes     [3]atomic.Pointer[node]
		endpoints [3]string
	)
	start := func(i int) {
		w.app("oauth_tokens")["providers"].(object)["sandbox"].(object)["token_url"] = endpoints[i]
		nodes[i].Store(w.runNode(fmt.Sprintf("node%d", i)))
	}
	for i := range nodes {
		endpoints[i] = x.endpoint(t, i, w.sandbox.HTTPURL()+"/token")
		start(i)
	}
	var (
		wg   sync.WaitGroup
		stop atomic.Bool
		mu   sync.Mutex
		lost = make(map[string]bool)
		sent int
	)
	for i := range mailboxes {
		rnd := rand.New(rand.NewPCG(uint64(i), 0)) //nolint:gosec // a load
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				at := rnd.IntN(len(nodes))
				err := trySend(nodes[at].Load().addr, user(i), n)
				refused, ok := errors.AsType[*textproto.Error](err)
				switch {
				case err == nil:
					mu.Lock()
					sent++
					mu.Unlock()
				case ok && strings.Contains(refused.Msg, "consent again"):
					mu.Lock()
					lost[user(i)] = true
					mu.Unlock()
					return
				case ok && refused.Code/100 != 4:
					t.Errorf("%s: %v", user(i), err)
					return
				default:
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wait := func(goal int) {
		for deadline := time.Now().Add(3 * time.Minute); x.rotations() < goal; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				stop.Store(true)
				t.Fatalf("%d rotations, want %d", x.rotations(), goal)
			}
		}
	}
	way := make(map[string]time.Duration)
	killed := 0
	for goal := each; goal < rotations; goal += each {
		wait(goal)
		i := killed % len(nodes)
		n := nodes[i].Load()
		at := time.Now()
		n.signal(syscall.SIGKILL)
		_ = n.wait()
		for mailbox, since := range x.onTheWay(i, at) {
			way[mailbox] = since
		}
		killed++
		start(i)
	}
	wait(rotations)
	stop.Store(true)
	wg.Wait()
	// Each mailbox works by every node, or has lost its consent for good.
	for i := range mailboxes {
		for k := range nodes {
			err := trySend(nodes[k].Load().addr, user(i), 0)
			for end := time.Now().Add(time.Minute); err != nil && !strings.Contains(err.Error(), "consent again") && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				err = trySend(nodes[k].Load().addr, user(i), 0)
			}
			switch {
			case err == nil:
			case strings.Contains(err.Error(), "consent again"):
				lost[user(i)] = true
			default:
				t.Errorf("%s after all: %v", user(i), err)
			}
		}
	}
	for mailbox := range lost {
		since, ok := way[mailbox]
		if !ok {
			t.Errorf("%s has lost its consent, and no answer was on its way to a node that was killed", mailbox)
			continue
		}
		t.Logf("%s has lost its consent: its answer had left the provider %s before the kill", mailbox, since)
	}
	t.Logf("%d rotations, %d messages, %d kills; %d exchanges were open when a node was killed, %d consents lost", x.rotations(), sent, killed, len(way), len(lost))
}
