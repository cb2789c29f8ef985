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

package postgres

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/limits"
)

// load is messages that are counted: no more than the limiter's part of one.
type load struct {
	rate, mailboxes int
	phase           time.Duration
}

// TestCostOfNodes counts 833 messages a second over many mailboxes on three nodes, and
// beside them, in turns, on one node with files. The log has what docs/benchmarks.md
// says:
//
//	MAILGATEWAY_LOAD=30s go test -count=1 -v -run TestCostOfNodes ./limits/postgres
func TestCostOfNodes(t *testing.T) {
	set := load{833, 500, 2 * time.Second}
	if v := os.Getenv("MAILGATEWAY_LOAD"); v != "" {
		var err error
		if set.phase, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
		set.mailboxes = 10_000
	}
	pg := testpg.Start(t)
	conn, err := pgx.Connect(t.Context(), pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // a test's
	rates := accounts.Limits{MaxConns: 3, Rate: accounts.Rate{Count: 60, Per: time.Minute}}
	var nodes []*limits.Local
	var engines []*counted
	for i := range 3 {
		e, err := openEngine(t.Context(), pgdb.Config{DSN: pg.DSN()})
		if err != nil {
			t.Fatal(err)
		}
		c := &counted{engine: e}
		engines = append(engines, c)
		n := newNode(c, fmt.Sprint("node", i), defaultLease, defaultGrace, zap.NewNop())
		n.start()
		l := limits.NewLocal("up", limits.Config{Limits: rates, Lender: n.guest("up")})
		defer func() {
			l.Shut()
			l.Wait()
			n.stop()
			e.db.Close()
		}()
		nodes = append(nodes, l)
	}
	files := limits.NewLocal("up", limits.Config{Limits: rates, Storage: &certmagic.FileStorage{Path: t.TempDir()}})
	defer func() {
		files.Shut()
		files.Wait()
	}()

	one := []*limits.Local{files}
	for _, p := range []struct {
		name  string
		on    []*limits.Local
		apart bool // each mailbox on a node of its own
	}{
		{"files, first use", one, true}, {"nodes, first use", nodes, true},
		{"files", one, true}, {"nodes, each mailbox on one", nodes, true}, {"files", one, true}, {"nodes, each mailbox on one", nodes, true},
		{"nodes, all mailboxes on all", nodes, false}, {"files", one, true}, {"nodes, all mailboxes on all", nodes, false},
	} {
		waits := sampleWaits(t, pg.DSN())
		before, cpu := transactions(t, conn), cpuTime()
		began := time.Now()
		took, refused := set.run(t, p.on, p.apart)
		lasted := time.Since(began)
		waited := waits()
		cpu = cpuTime() - cpu
		calls := transactions(t, conn) - before
		n := len(took)
		if n == 0 {
			t.Fatalf("%s: all of %d are refused", p.name, refused)
		}
		t.Logf("%-28s %6d messages, %d refused: median %s, p95 %s, p99 %s; CPU a message %s; %.1f transactions a second",
			p.name, n, refused, took[n/2], took[n*95/100], took[n*99/100], cpu/time.Duration(n), float64(calls)/lasted.Seconds())
		t.Logf("    the server's processes, of 100 looks: %s", waited)
		for i, e := range engines {
			t.Logf("    node %d: %s", i, e.told(lasted))
		}
		if p.apart && refused > 0 {
			t.Errorf("%s: %d messages are refused", p.name, refused)
		}
	}
}

// run counts messages for a phase and returns how long each waited, in order.
func (s load) run(t *testing.T, on []*limits.Local, apart bool) (took []time.Duration, refused int) {
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	began := time.Now()
	total := int(s.phase.Seconds() * float64(s.rate))
	for i := range total {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(s.rate))))
		all.Go(func() {
			box := i % s.mailboxes
			node := box % len(on)
			if !apart {
				node = (box + i/s.mailboxes) % len(on)
			}
			name := fmt.Sprintf("box%d@example.com", box)
			a := on[node].Account(name, name, nil)
			defer a.Close()
			asked := time.Now()
			slot, err := a.Reserve(t.Context(), limits.Request{MaxWait: time.Minute, MaxWaiting: 100})
			lends := err == nil && a.Lends(&slot)
			waited := time.Since(asked)
			if lends {
				a.Commit(slot, 1)
			} else if err == nil {
				a.Cancel(slot)
			}
			mu.Lock()
			defer mu.Unlock()
			if !lends {
				refused++
				return
			}
			took = append(took, waited)
		})
	}
	all.Wait()
	slices.Sort(took)
	return took, refused
}

// sampleWaits looks each 20 ms what the server's processes that have a statement of ours
// wait for, until the function that it returns is called, which says how many that were.
func sampleWaits(t *testing.T, dsn string) func() string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn+"&application_name=sampler")
	if err != nil {
		t.Fatal(err)
	}
	end, said := make(chan struct{}), make(chan string)
	go func() {
		defer conn.Close(context.Background()) //nolint:errcheck // a test's
		looks, waits := 0, make(map[string]int)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				var list []string
				for what, n := range waits {
					list = append(list, fmt.Sprintf("%6.2f %s", 100*float64(n)/float64(max(looks, 1)), what))
				}
				slices.Sort(list)
				slices.Reverse(list)
				said <- strings.Join(list[:min(len(list), 12)], "; ")
				return
			case <-tick.C:
			}
			rows, err := conn.Query(context.Background(), `SELECT coalesce(wait_event_type || ' ' || wait_event, 'runs') || ' (' || left(query, 22) || ')'
				FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'sampler' AND (state = 'active' OR state LIKE 'idle in%')`)
			if err != nil {
				continue
			}
			list, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				continue
			}
			looks++
			for _, what := range list {
				waits[what]++
			}
		}
	}()
	return func() string {
		close(end)
		return <-said
	}
}

// transactions is how many the server has seen, as far as its processes have told: they
// do each second.
func transactions(t *testing.T, conn *pgx.Conn) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// counted is an engine whose calls are counted.
type counted struct {
	engine

	mu    sync.Mutex
	calls map[string]*calls
}

type calls struct {
	n, keys    int
	took, most time.Duration
}

func (c *counted) count(name string, keys int, began time.Time) {
	took := time.Since(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = make(map[string]*calls)
	}
	k := c.calls[name]
	if k == nil {
		k = new(calls)
		c.calls[name] = k
	}
	k.n++
	k.keys += keys
	k.took += took
	k.most = max(k.most, took)
}

// told says what was called since it was asked last.
func (c *counted) told(over time.Duration) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for name, k := range c.calls {
		list = append(list, fmt.Sprintf("%s %.1f a second of %.1f mailboxes, %s each, %s at most", name,
			float64(k.n)/over.Seconds(), float64(k.keys)/float64(k.n), (k.took/time.Duration(k.n)).Round(10*time.Microsecond), k.most.Round(10*time.Microsecond)))
	}
	slices.Sort(list)
	c.calls = nil
	return strings.Join(list, "; ")
}

func (c *counted) beat(ctx context.Context, id string, ttl time.Duration, st standing) (pulse, error) {
	defer c.count("beat", 0, time.Now())
	return c.engine.beat(ctx, id, ttl, st)
}

func (c *counted) change(ctx context.Context, id string, keys []key, f func(view, map[key]*doc) effects) error {
	defer c.count("change", len(keys), time.Now())
	return c.engine.change(ctx, id, keys, f)
}

func (c *counted) recalled(ctx context.Context, id string) ([]key, error) {
	began := time.Now()
	keys, err := c.engine.recalled(ctx, id)
	c.count("recalled", len(keys), began)
	return keys, err
}
