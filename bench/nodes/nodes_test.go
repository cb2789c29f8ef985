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
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddymail/mailgateway/bench/message"
	"github.com/caddymail/mailgateway/bench/sink"
	"github.com/caddymail/mailgateway/bench/system"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/internal/testpki"
)

// size is how much is measured.
type size struct {
	mailboxes int
	rate      float64 // messages a second, over all nodes
	window    time.Duration
}

// wanted is what the environment asks for.
func wanted(env func(string) string) (s size, err error) {
	s = size{mailboxes: 10_000, rate: 50_000.0 / 60}
	if s.window, err = time.ParseDuration(env("MAILGATEWAY_NODES")); err != nil {
		return s, err
	}
	if v := env("MAILGATEWAY_NODES_MAILBOXES"); v != "" {
		if s.mailboxes, err = strconv.Atoi(v); err != nil {
			return s, err
		}
	}
	if v := env("MAILGATEWAY_NODES_RATE"); v != "" {
		s.rate, err = strconv.ParseFloat(v, 64)
	}
	return s, err
}

// loadSetup and loadResult are what bench's load reads and answers, as far as it
// is needed here.
type loadSetup struct {
	Addr         string        `json:"addr"`
	TLS          string        `json:"tls"`
	CA           string        `json:"ca"`
	Mode         string        `json:"mode"`
	Run          uint32        `json:"run"`
	Clients      int           `json:"clients"`
	Accounts     int           `json:"accounts"`
	FirstAccount int           `json:"first_account"`
	PerConn      int           `json:"per_conn"`
	Size         int           `json:"size"`
	Rate         float64       `json:"rate"`
	Window       time.Duration `json:"window"`
	Messages     int           `json:"messages"`
	PIDs         []int         `json:"pids"`
}

type loadResult struct {
	Sent     int            `json:"sent"`
	Accepted int            `json:"sent_ok"`
	Unknown  int            `json:"unknown"`
	Errors   map[string]int `json:"errors"`
	Latency  struct {
		P50 float64 `json:"p50_ms"`
		P95 float64 `json:"p95_ms"`
		P99 float64 `json:"p99_ms"`
	} `json:"latency"`
	CPU    []float64 `json:"cpu_seconds"`
	Bitmap string    `json:"bitmap"`
}

// figure is what one row measured; of several nodes the worst times, and all CPU.
type figure struct {
	sent, accepted int
	p50, p95, p99  float64
	cpu            float64 // seconds, of the gateways
	errors         map[string]int
}

func (f *figure) add(r *loadResult, gateways int) {
	f.sent, f.accepted = f.sent+r.Sent, f.accepted+r.Accepted
	f.p50, f.p95, f.p99 = max(f.p50, r.Latency.P50), max(f.p95, r.Latency.P95), max(f.p99, r.Latency.P99)
	for _, cpu := range r.CPU[:gateways] {
		f.cpu += cpu
	}
	for text, n := range r.Errors {
		if f.errors == nil {
			f.errors = make(map[string]int)
		}
		f.errors[text] += n
	}
}

func (f *figure) each(cpu float64) time.Duration {
	return time.Duration(cpu / float64(max(1, f.accepted)) * float64(time.Second)).Round(time.Microsecond)
}

// bed is what the rows share.
type bed struct {
	t         *testing.T
	bench, ca string
	run       uint32
}

// send has each of the loads run, side by side, against its node's sink, and holds
// that each message that was answered 250 is there once.
func (b *bed) send(sinks []*target, loads []loadSetup, gateways int) (f figure) {
	b.t.Helper()
	var mu sync.Mutex
	var done sync.WaitGroup
	for i := range loads {
		b.run++
		loads[i].Run, loads[i].CA, loads[i].PerConn, loads[i].Size, loads[i].Mode = b.run, b.ca, 1, 4096, "pipeline"
		sinks[i].call(http.MethodPut, "/run/"+sink.RunName(b.run), nil)
	}
	for i := range loads {
		p := start(b.t, "load", loads[i], b.bench, "load")
		done.Go(func() {
			var ev struct {
				Result *loadResult `json:"result"`
			}
			if err := p.answer(&ev); err != nil || ev.Result == nil {
				b.t.Errorf("load: %v %s", err, p.tail())
				return
			}
			var st sink.Stats
			sinks[i].call(http.MethodGet, "/stats?bitmap", &st)
			lost, more, err := message.Difference(ev.Result.Bitmap, st.Bitmap)
			if err != nil || lost > 0 || more > ev.Result.Unknown || st.Duplicates > 0 || st.Corrupt > 0 || st.Stray > 0 {
				b.t.Errorf("%d messages are lost, %d more than answered, %d twice, %d damaged, %d stray %v", lost, more, st.Duplicates, st.Corrupt, st.Stray, err)
			}
			mu.Lock()
			defer mu.Unlock()
			f.add(ev.Result, gateways)
		})
	}
	done.Wait()
	return f
}

// TestThroughSMTP measures three nodes on one database beside one with files, and the
// sink alone, in turns.
func TestThroughSMTP(t *testing.T) {
	if os.Getenv("MAILGATEWAY_NODES") == "" {
		t.Skip("MAILGATEWAY_NODES is how long to measure, 30s")
	}
	set, err := wanted(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	system.RaiseFileLimit()
	dir := t.TempDir()
	caddy := os.Getenv("MAILGATEWAY_NODES_BINARY")
	if caddy == "" {
		caddy = build(t, dir, "caddy", "../../xcaddy")
	}
	authority := testpki.NewAuthority("mailgateway bench authority")
	b := &bed{t: t, bench: build(t, dir, "bench", ".."), run: uint32(time.Now().Unix())} //nolint:gosec // a number that differs
	if b.ca, err = authority.Write(dir); err != nil {
		t.Fatal(err)
	}
	of := sink.Setup{CA: b.ca}
	if of.Cert, of.Key, err = testpki.Write(dir, authority.Issue(testpki.Leaf{Names: []string{sink.Name, "127.0.0.1"}})); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), ServerName: sink.Name, MinVersion: tls.VersionTLS12}}}
	var sinks []*target
	for range 3 {
		sinks = append(sinks, startSink(t, b.bench, of, client))
	}
	pair := testpg.StartPair(t)
	db := watch(t, pair)
	accounts := accountsFile(t, set.mailboxes)
	files := startGateway(t, caddy, "", accounts, b.ca, "files", sinks[0])
	var three []*gateway
	for i, s := range sinks {
		three = append(three, startGateway(t, caddy, pair.DSN(), accounts, b.ca, fmt.Sprint("node", i), s))
	}

	// loads of that many nodes: each mailbox on one of them, or on all.
	loads := func(nodes []*gateway, apart bool) (list []loadSetup) {
		for i, g := range nodes {
			l := loadSetup{Addr: g.smtp, TLS: "off", Accounts: set.mailboxes, Clients: 150 / len(nodes), Rate: set.rate / float64(len(nodes)), Window: set.window, PIDs: []int{g.pid()}}
			if apart {
				l.Accounts = set.mailboxes / len(nodes)
				l.FirstAccount = i * l.Accounts
			}
			list = append(list, l)
		}
		return list
	}
	// Once through all, as fast as it goes: tokens, connections, shares.
	first := func(list []loadSetup) []loadSetup {
		for i := range list {
			list[i].Rate, list[i].Window, list[i].Messages, list[i].Clients = 0, 0, list[i].Accounts, 16
		}
		return list
	}
	direct := loadSetup{Addr: sinks[0].at.Implicit, TLS: "implicit", Accounts: set.mailboxes, Clients: 150, Rate: set.rate, Window: set.window}
	one := []*gateway{files}
	for _, row := range []struct {
		name  string
		on    []*gateway
		loads []loadSetup
	}{
		{"files, first use", one, first(loads(one, true))},
		{"nodes, first use, each mailbox on one", three, first(loads(three, true))},
		{"no gateway", nil, []loadSetup{direct}},
		{"files", one, loads(one, true)},
		{"nodes, each mailbox on one", three, loads(three, true)},
		{"files", one, loads(one, true)},
		{"nodes, each mailbox on one", three, loads(three, true)},
		{"nodes, each mailbox on all: the parts move", three, loads(three, false)},
		{"files", one, loads(one, true)},
		{"nodes, each mailbox on all, after that", three, loads(three, false)},
		{"no gateway", nil, []loadSetup{direct}},
	} {
		calls, served := db.calls(), db.cpu()
		began := time.Now()
		f := b.send(sinks, row.loads, min(1, len(row.on)))
		lasted := time.Since(began).Seconds()
		t.Logf("%-44s %6d of %d messages, %.0f a second: p50 %.1f ms, p95 %.1f, p99 %.1f; CPU a message %s, the database's %s; %.0f transactions a second; load %s",
			row.name, f.accepted, f.sent, float64(f.accepted)/lasted, f.p50, f.p95, f.p99, f.each(f.cpu), f.each(db.cpu()-served), float64(db.calls()-calls)/lasted, system.LoadAverage())
		for text, n := range f.errors {
			t.Logf("    %d times: %s", n, text)
		}
	}
	for _, g := range append(three, files) {
		if text := g.tail(); text != "" {
			t.Logf("%s: %s", g.name, text)
		}
	}
}

// TestParts holds what the figures are made of.
func TestParts(t *testing.T) {
	env := map[string]string{"MAILGATEWAY_NODES": "3s"}
	get := func(name string) string { return env[name] }
	if s, err := wanted(get); err != nil || s.mailboxes != 10_000 || int(s.rate*60+.5) != 50_000 || s.window != 3*time.Second {
		t.Errorf("%+v %v", s, err)
	}
	env["MAILGATEWAY_NODES_MAILBOXES"], env["MAILGATEWAY_NODES_RATE"] = "30", "7.5"
	if s, err := wanted(get); err != nil || s.mailboxes != 30 || s.rate != 7.5 {
		t.Errorf("%+v %v", s, err)
	}
	for _, name := range []string{"MAILGATEWAY_NODES", "MAILGATEWAY_NODES_MAILBOXES", "MAILGATEWAY_NODES_RATE"} {
		was := env[name]
		if env[name] = "many"; true {
			if _, err := wanted(get); err == nil {
				t.Errorf("%s=many is taken", name)
			}
		}
		env[name] = was
	}
	var f figure
	for i := range 2 {
		r := &loadResult{Sent: 10, Accepted: 9, Errors: map[string]int{"451": 1}, CPU: []float64{0.5, 100}}
		r.Latency.P95 = float64(i)
		f.add(r, 1)
	}
	if f.sent != 20 || f.accepted != 18 || f.p95 != 1 || f.cpu != 1 || f.errors["451"] != 2 || f.each(f.cpu) != 55556*time.Microsecond {
		t.Errorf("%+v %s", f, f.each(f.cpu))
	}
	if pid := parent("4711 (a name) with) S 12 4711 4711"); pid != 12 {
		t.Errorf("the parent is %d", pid)
	}
}

// database is the pair, as it is seen from beside.
type database struct {
	t     *testing.T
	conn  *pgx.Conn
	roots []int // the servers' processes
}

func watch(t *testing.T, pair *testpg.Pair) *database {
	t.Helper()
	d := &database{t: t}
	for _, s := range []*testpg.Server{pair.Primary, pair.Standby} {
		conn, err := pgx.Connect(t.Context(), s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(t.Context()) })
		var pid int
		if err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Skip("the CPU of a process is read from /proc: ", err)
		}
		d.roots = append(d.roots, parent(string(raw)))
		if s == pair.Primary {
			d.conn = conn
		}
	}
	return d
}

// parent reads the parent's number out of a line of /proc.
func parent(stat string) (pid int) {
	if f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]); len(f) > 1 {
		pid, _ = strconv.Atoi(f[1])
	}
	return pid
}

// calls is how many transactions the primary has seen, as its processes have told
// by now: they do each second.
func (d *database) calls() (n int64) {
	d.t.Helper()
	if err := d.conn.QueryRow(d.t.Context(), "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// cpu is what both servers have used, in seconds.
func (d *database) cpu() (sum float64) {
	for _, pid := range d.roots {
		sum += system.TreeCPU(pid)
	}
	return sum
}
