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

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/limits"
)

func openEngine(ctx context.Context, c pgdb.Config) (*pgEngine, error) {
	db, err := c.OpenLater(ctx, "limits", migrations)
	if err != nil {
		return nil, err
	}
	return newEngine(db), nil
}

// TestEngine holds that the database does what the protocol needs, in each of the ways
// that statements can be sent: poolers take some.
func TestEngine(t *testing.T) {
	pg := testpg.Start(t)
	for i, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			testEngine(t, pgdb.Config{DSN: pg.DSN() + "&default_query_exec_mode=" + mode, Schema: fmt.Sprint("s", i)})
		})
	}
}

func testEngine(t *testing.T, set pgdb.Config) {
	ctx := t.Context()
	e, err := openEngine(ctx, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.db.Close)
	for id, ttl := range map[string]time.Duration{"a": time.Minute, "b": time.Minute, "late": 10 * time.Millisecond} {
		if _, err := e.join(ctx, id, "node "+id, ttl); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond) // by the database's clock, which is not ours
	if b, err := e.beat(ctx, "late", time.Minute, standing{}); err != nil || b.alive {
		t.Errorf("a lease that is over was renewed: %v, %v", b.alive, err)
	}
	k := key{"up", "m"}
	woken := make(chan struct{}, 10)
	listening, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wake := func() { woken <- struct{}{} }
		_ = e.listen(listening, wake, func(id string) {
			if who, keys := heed(id); who == "b" && slices.Equal(keys, []key{k}) {
				wake()
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	<-woken // it listens

	nothing := func(view, map[key]*doc) effects { return effects{} }
	if err := e.change(ctx, "late", []key{k}, nothing); !errors.Is(err, errEnded) {
		t.Errorf("a node that has ended changed something: %v", err)
	}
	err = e.change(ctx, "a", []key{k, {"up", "n"}}, func(v view, docs map[key]*doc) effects {
		if _, ok := v.ended["late"]; !ok || len(v.until) != 2 || len(docs) != 2 {
			t.Errorf("seen: %+v, %d documents", v, len(docs))
		}
		docs[k].Nodes = map[string]*held{"a": {Rev: 7, Parts: map[string]part{"conns": {N: 3}}}}
		return effects{recalls: map[key][]string{k: {"b"}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-woken:
	case <-time.After(10 * time.Second):
		t.Error("b was not told")
	}
	if keys, err := e.recalled(ctx, "b"); err != nil || len(keys) != 1 || keys[0] != k {
		t.Errorf("recalled: %v, %v", keys, err)
	}
	// It stays so until b has looked, whatever it finds: nothing is written for that.
	written := func() (xmin string) {
		t.Helper()
		err := e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
			return q.QueryRow(ctx, "SELECT xmin::text FROM "+e.shares+" WHERE mailbox = 'm'").Scan(&xmin)
		})
		if err != nil {
			t.Fatal(err)
		}
		return xmin
	}
	was := written()
	if err := e.change(ctx, "b", []key{{"up", "n"}}, nothing); err != nil {
		t.Fatal(err)
	}
	if keys, err := e.recalled(ctx, "b"); err != nil || len(keys) != 1 {
		t.Errorf("recalled, and b has looked at something else: %v, %v", keys, err)
	}
	if err := e.change(ctx, "b", []key{k, {"up", "n"}}, nothing); err != nil {
		t.Fatal(err)
	}
	if keys, err := e.recalled(ctx, "b"); err != nil || len(keys) != 0 {
		t.Errorf("recalled, and b has looked: %v, %v", keys, err)
	}
	if now := written(); now != was {
		t.Errorf("a document that has not changed is written, by %s after %s", now, was)
	}
	nodes, err := e.list(ctx, "b")
	if err != nil || len(nodes) != 3 {
		t.Fatalf("nodes: %+v, %v", nodes, err)
	}
	if nodes[0].ID != "a" || nodes[0].Mailboxes != 1 || nodes[0].Ended || !nodes[1].Self || !nodes[2].Ended {
		t.Errorf("nodes: %+v", nodes)
	}
	err = e.change(ctx, "b", []key{k}, func(_ view, docs map[key]*doc) effects {
		if h := docs[k].Nodes["a"]; h == nil || h.Rev != 7 || h.Parts["conns"].N != 3 {
			t.Errorf("read back: %+v", h)
		}
		docs[k].Nodes = nil
		return effects{}
	})
	if err != nil {
		t.Fatal(err)
	}
	var rows int
	err = e.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		return q.QueryRow(ctx, "SELECT count(*) FROM "+e.shares).Scan(&rows)
	})
	if err != nil || rows != 0 {
		t.Errorf("%d rows of nothing, %v", rows, err)
	}
}

// TestPausedInTransaction has a process stop in the middle of a transaction: its
// locks end.
func TestPausedInTransaction(t *testing.T) {
	ctx := t.Context()
	e, err := openEngine(ctx, pgdb.Config{DSN: testpg.Start(t).DSN()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.db.Close)
	for _, id := range []string{"paused", "b"} {
		if _, err := e.join(ctx, id, id, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	k := key{"up", "m"}
	locked, resume, failed := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		failed <- e.change(ctx, "paused", []key{k}, func(_ view, docs map[key]*doc) effects {
			close(locked)
			<-resume
			docs[k].Wants = map[string]want{"paused": {Until: 1}}
			return effects{}
		})
	}()
	<-locked
	err = e.change(ctx, "b", []key{k}, func(_ view, docs map[key]*doc) effects {
		docs[k].Wants = map[string]want{"b": {Until: 1}}
		return effects{}
	})
	if err != nil {
		t.Errorf("another node waits for one that is paused: %v", err)
	}
	close(resume)
	if err := <-failed; err == nil {
		t.Error("the paused one's write was made")
	}
}

// TestAsked holds that a node hears at its next heartbeat what was asked of it,
// until it says that it is so, and that one that has ended is not asked.
func TestAsked(t *testing.T) {
	ctx := t.Context()
	e, err := openEngine(ctx, pgdb.Config{DSN: testpg.Start(t).DSN()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.db.Close()
	for _, id := range []string{"a", "gone"} {
		if _, err := e.join(ctx, id, "node", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.leave(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	began, told := make(chan struct{}), make(chan string, 10)
	listening, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.listen(listening, func() { close(began) }, func(id string) { told <- id })
	}()
	defer func() { cancel(); <-ended }()
	<-began
	beat := func(draining bool) string {
		t.Helper()
		b, err := e.beat(ctx, "a", time.Hour, standing{draining: draining, sessions: 7})
		if err != nil || !b.alive {
			t.Fatal(b.alive, err)
		}
		if b.asked == nil {
			return "nothing"
		}
		return fmt.Sprint(*b.asked)
	}
	for _, drain := range []bool{true, false} {
		if got := beat(!drain); got != "nothing" {
			t.Errorf("before: %s", got)
		}
		lives, err := e.ask(ctx, "a", drain)
		if err != nil || !lives || <-told != urgent+"a" {
			t.Fatal("the node is not told", err)
		}
		nodes, err := e.list(ctx, "")
		if err != nil || len(nodes) != 2 || nodes[0].Asked != map[bool]string{true: "drain", false: "resume"}[drain] || nodes[0].Sessions != 7 || nodes[0].Draining == drain {
			t.Errorf("%+v %v", nodes, err)
		}
		for range 2 { // until it has done it
			if got := beat(!drain); got != fmt.Sprint(drain) {
				t.Errorf("the node hears %s, asked was %v", got, drain)
			}
		}
		if got := beat(drain); got != "nothing" {
			t.Errorf("a node that has done it hears %s", got)
		}
	}
	if lives, err := e.ask(ctx, "gone", true); lives || err != nil {
		t.Errorf("a node that has ended: %v %v", lives, err)
	}
}

// TestBehindPooler has the only connection of a mailbox move between two nodes that are behind
// PgBouncer in transaction mode: neither believes that it hears the other one, and each
// gets it all the same.
func TestBehindPooler(t *testing.T) {
	dsn := testpg.StartPooler(t, testpg.Start(t))
	nodes := make([]*node, 2)
	accts := make([]limits.Account, 2)
	for i := range nodes {
		e, err := openEngine(t.Context(), pgdb.Config{DSN: dsn, Timeout: caddy.Duration(2 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		defer e.db.Close()
		if err := e.db.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := newNode(e, fmt.Sprint(i), 10*time.Second, 0, zap.NewNop())
		n.start()
		defer n.stop()
		l := limits.NewLocal("up", limits.Config{Limits: accounts.Limits{MaxConns: 1, Rate: accounts.Rate{Count: 100, Per: time.Minute}}, Lender: n.guest("up")})
		accts[i] = l.Account("m", "m", nil)
		defer accts[i].Close()
		nodes[i] = n
	}
	for _, n := range nodes {
		for _, err := n.eng.(*pgEngine).db.Unheard(); err == nil; _, err = n.eng.(*pgEngine).db.Unheard() {
			if n.hears.Load() {
				t.Fatal("a node believes that it hears others")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for i := range 6 {
		a := accts[i%2]
		slot, err := a.Reserve(t.Context(), limits.Request{MaxWait: time.Minute, MaxWaiting: 1})
		if err != nil {
			t.Fatal(err)
		}
		a.Commit(slot, 1)
		if nodes[i%2].hears.Load() {
			t.Error("a node believes that it hears others")
		}
	}
}
