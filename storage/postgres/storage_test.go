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
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
)

func TestMain(m *testing.M) {
	if name := os.Getenv("STORAGE_TEST_CHILD"); name != "" {
		child(name)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, dsn string) *Storage {
	tb.Helper()
	s, err := Open(context.Background(), pgdb.Config{DSN: dsn})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// TestLikeFiles holds that the storage answers as Caddy's own does.
func TestLikeFiles(t *testing.T) {
	ctx := context.Background()
	pg := open(t, testpg.Start(t).DSN())
	files := &certmagic.FileStorage{Path: t.TempDir()}
	both := []certmagic.Storage{files, pg}
	for _, s := range both {
		for key, value := range map[string]string{
			"a/b/c": "1", "a/b/d.json": "2", "a/e": "", "a.b/c": "4", "a0": "5", "ä/ö/ü": "6", "/z/y/": "7",
		} {
			if err := s.Store(ctx, key, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	answers := func(s certmagic.Storage) string {
		var out strings.Builder
		for _, key := range []string{"a", "a/b", "a/b/c", "a/e", "a/x", "", "ä", "ä/ö", "z", "z/y", "a/", "%", "a_b"} {
			value, err := s.Load(ctx, key)
			if key == "a/b/c" || key == "a/e" || key == "a/x" || key == "z/y" {
				fmt.Fprintf(&out, "load %s: %q %v\n", key, value, errors.Is(err, fs.ErrNotExist))
			}
			info, err := s.Stat(ctx, key)
			if key != "" {
				fmt.Fprintf(&out, "stat %s: %v %v %v\n", key, s.Exists(ctx, key), info.IsTerminal, errors.Is(err, fs.ErrNotExist))
			}
			if info.IsTerminal {
				fmt.Fprintf(&out, "size %s: %d\n", key, info.Size)
				continue
			}
			for _, recursive := range []bool{false, true} {
				keys, err := s.List(ctx, key, recursive)
				slices.Sort(keys)
				fmt.Fprintf(&out, "list %s %v: %q %v\n", key, recursive, keys, errors.Is(err, fs.ErrNotExist))
			}
		}
		return out.String()
	}
	if want, got := answers(files), answers(pg); got != want {
		t.Errorf("PostgreSQL:\n%s\nfiles:\n%s", got, want)
	}
	for _, s := range both {
		if err := errors.Join(s.Delete(ctx, "a/b"), s.Delete(ctx, "a0"), s.Delete(ctx, "nothing"), s.Store(ctx, "a/e", []byte("new"))); err != nil {
			t.Fatal(err)
		}
	}
	if want, got := answers(files), answers(pg); got != want {
		t.Errorf("after deletions, PostgreSQL:\n%s\nfiles:\n%s", got, want)
	}
}

func TestSwap(t *testing.T) {
	ctx := context.Background()
	s := open(t, testpg.Start(t).DSN())
	swap := func(was, seq uint64, value string) error { return s.Swap(ctx, "k", was, seq, []byte(value)) }
	if err := swap(3, 4, "without a row"); !errors.Is(err, ErrChanged) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("swap of a row that is not there: %v", err)
	}
	if err := swap(0, 1, "one"); err != nil {
		t.Fatal(err)
	}
	if err := swap(0, 1, "another one"); !errors.Is(err, ErrChanged) {
		t.Errorf("a second first write: %v", err)
	}
	if err := swap(1, 2, "two"); err != nil {
		t.Fatal(err)
	}
	if err := swap(1, 2, "stale"); !errors.Is(err, ErrChanged) {
		t.Errorf("a stale write: %v", err)
	}
	if value, err := s.Load(ctx, "k"); err != nil || string(value) != "two" {
		t.Errorf("%q %v", value, err)
	}
	// As a copy from files has written it: without a number.
	if err := s.Store(ctx, "k", []byte("copied")); err != nil {
		t.Fatal(err)
	}
	if err := swap(7, 8, "eight"); err != nil {
		t.Errorf("the first swap of a copied row: %v", err)
	}
	if err := swap(7, 8, "late"); !errors.Is(err, ErrChanged) {
		t.Errorf("the second swap of a copied row: %v", err)
	}
	if err := errors.Join(s.Delete(ctx, "k"), swap(0, 1, "again")); err != nil {
		t.Error(err)
	}
}

// TestSwapRace has many writers count up one record: none overwrites another.
func TestSwapRace(t *testing.T) {
	ctx := context.Background()
	dsn := testpg.Start(t).DSN()
	nodes := []*Storage{open(t, dsn), open(t, dsn)}
	const writers, each = 6, 20
	var lost atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		s := nodes[w%len(nodes)]
		wg.Go(func() {
			for done := 0; done < each; {
				var was uint64
				if value, err := s.Load(ctx, "n"); err == nil {
					_, _ = fmt.Sscan(string(value), &was)
				}
				err := s.Swap(ctx, "n", was, was+1, fmt.Append(nil, was+1))
				switch {
				case err == nil:
					done++
				case errors.Is(err, ErrChanged):
					lost.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if value, err := nodes[0].Load(ctx, "n"); err != nil || string(value) != fmt.Sprint(writers*each) {
		t.Errorf("%q %v, want %d (%d refused)", value, err, writers*each, lost.Load())
	}
}

func TestLock(t *testing.T) {
	dsn := testpg.Start(t).DSN()
	a, b := open(t, dsn), open(t, dsn)
	ctx := context.Background()
	if err := a.Lock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Storage{a, b} {
		if ok, err := s.TryLock(ctx, "l"); ok || err != nil {
			t.Errorf("a lock that is held: %v %v", ok, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := b.Lock(short, "l"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a lock: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- b.Lock(ctx, "l") }()
	if err := a.Unlock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	holds := func(who *Storage, want bool) {
		t.Helper()
		if ok, err := who.HoldsLock(ctx, "l"); ok != want || err != nil {
			t.Errorf("holds it: %v %v; want %v", ok, err, want)
		}
	}
	holds(a, false)
	holds(b, true)
	// What ends within seconds is not believed in.
	if err := b.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "UPDATE "+b.locks.table+" SET until = clock_timestamp() + $1::float8 * interval '1 second'", (lease / 4).Seconds())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	holds(b, false)
	// The lease ends, as it does when a process sleeps; another one takes it.
	if err := b.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "UPDATE "+b.locks.table+" SET until = clock_timestamp()")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if kept, err := b.locks.extend(ctx, []int64{b.locks.held["l"]}, lease); err != nil || len(kept) != 0 {
		t.Errorf("a lease that ended was revived: %v %v", kept, err)
	}
	if err := a.Lock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	holds(a, true)
	holds(b, false)
	if err := b.RenewLockLease(ctx, "l", time.Minute); !errors.Is(err, ErrLockLost) {
		t.Errorf("renewing a lost lock: %v", err)
	}
	if err := b.Unlock(ctx, "l"); !errors.Is(err, ErrLockLost) {
		t.Errorf("giving a lost lock back: %v", err)
	}
	if err := a.RenewLockLease(ctx, "l", time.Minute); err != nil {
		t.Errorf("the new holder: %v", err)
	}
	if err := a.Unlock(ctx, "l"); err != nil {
		t.Errorf("the new holder: %v", err)
	}
}

// TestLockGivenUp has who asks for a lock give up while the server has written it and
// waits for its standby: it is nobody's, and not kept until a lease's end.
func TestLockGivenUp(t *testing.T) {
	s := open(t, testpg.Start(t).DSN())
	ctx := t.Context()
	standby := func(names string) {
		t.Helper()
		if err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
			if _, err := q.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'"); err != nil {
				return err
			}
			_, err := q.Exec(ctx, "SELECT pg_reload_conf()")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for now := "?"; now != names; {
			if err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
				return q.QueryRow(ctx, "SHOW synchronous_standby_names").Scan(&now)
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	standby("away")
	// The process of the server that has commits wait for a standby hears of it in its
	// own time, later than the one that answers SHOW: until then a lock is given.
	var name string
	var given []string
	for i := 0; ; i++ {
		name = "l" + strconv.Itoa(i)
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		err := s.Lock(short, name)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, name)
	}
	standby("")
	soon, cancel := context.WithTimeout(ctx, lease/2)
	defer cancel()
	if err := s.Lock(soon, name); err != nil {
		t.Fatalf("nobody has the lock: %v", err)
	}
	for _, name := range append(given, name) {
		if err := s.Unlock(ctx, name); err != nil {
			t.Error(err)
		}
	}
}

// TestServerDies holds that what was acknowledged is there after a crash of the
// server, that its absence is an error at once, and that nothing has to be
// started again.
func TestServerDies(t *testing.T) {
	server := testpg.Start(t)
	s := open(t, server.DSN())
	ctx := context.Background()
	var acked []string
	for round := range 3 {
		for i := range 20 {
			key := fmt.Sprintf("k/%d/%d", round, i)
			if err := s.Store(ctx, key, []byte(key)); err != nil {
				t.Fatal(err)
			}
			acked = append(acked, key)
		}
		server.Kill()
		if err := s.Store(ctx, "k/lost", nil); err == nil || !strings.Contains(err.Error(), "storing k/lost: postgres at 127.0.0.1") {
			t.Errorf("a server that is not there: %v", err)
		}
		server.Up()
	}
	for _, key := range acked {
		if value, err := s.Load(ctx, key); err != nil || string(value) != key {
			t.Errorf("%s: %q %v", key, value, err)
		}
	}
}

// child is another process: it takes a lock and waits to be killed.
func child(dsn string) {
	s, err := Open(context.Background(), pgdb.Config{DSN: dsn})
	if err == nil {
		err = s.Store(context.Background(), "from/child", []byte("hello"))
	}
	if err == nil {
		err = s.Lock(context.Background(), "l")
	}
	fmt.Println("locked", err)
	select {}
}

// TestProcessDies holds that a killed process's lock is free at its lease's
// end, and not before.
func TestProcessDies(t *testing.T) {
	dsn := testpg.Start(t).DSN()
	s := open(t, dsn)
	ctx := context.Background()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // the test itself
	cmd.Env = append(os.Environ(), "STORAGE_TEST_CHILD="+dsn)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil || string(bytes.TrimSpace(line[:n])) != "locked <nil>" {
		t.Fatalf("%q %v", line[:n], err)
	}
	if value, err := s.Load(ctx, "from/child"); err != nil || string(value) != "hello" {
		t.Errorf("%q %v", value, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if ok, err := s.TryLock(ctx, "l"); ok || err != nil {
		t.Errorf("within the lease: %v %v", ok, err)
	}
	var left float64
	if err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
		return q.QueryRow(ctx, "UPDATE "+s.locks.table+" SET until = clock_timestamp() + interval '300 ms' RETURNING extract(epoch FROM until)::float8").Scan(&left)
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unlock(ctx, "l"); err != nil {
		t.Error(err)
	}
}

// TestMigrate holds that many nodes may start at once, that the tables of a
// newer binary are refused, and that a user without rights is told of.
func TestMigrate(t *testing.T) {
	dsn := testpg.Start(t).DSN()
	ctx := context.Background()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := Open(ctx, pgdb.Config{DSN: dsn, MaxConns: 2})
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
	s := open(t, dsn)
	exec := func(statement string) {
		t.Helper()
		if err := s.db.Do(ctx, func(ctx context.Context, q pgdb.Querier) error {
			_, err := q.Exec(ctx, statement)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE ROLE stranger LOGIN")
	_, err := Open(ctx, pgdb.Config{DSN: strings.Replace(dsn, "gateway@", "stranger@", 1)})
	if err == nil || !strings.Contains(err.Error(), "needs rights on schema mailgateway") {
		t.Errorf("a user without rights: %v", err)
	}
	// What docs/operations.md says is enough for every day.
	exec("GRANT USAGE ON SCHEMA mailgateway TO stranger")
	exec("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mailgateway TO stranger")
	exec("GRANT USAGE ON ALL SEQUENCES IN SCHEMA mailgateway TO stranger")
	least := open(t, strings.Replace(dsn, "gateway@", "stranger@", 1))
	if err := errors.Join(least.Lock(ctx, "x"), least.Store(ctx, "x", nil), least.Delete(ctx, "x"), least.Unlock(ctx, "x")); err != nil {
		t.Errorf("a user with the least rights: %v", err)
	}
	exec("UPDATE mailgateway.schema_versions SET version = 99")
	if _, err := Open(ctx, pgdb.Config{DSN: dsn}); err == nil || !strings.Contains(err.Error(), "have version 99") {
		t.Errorf("tables of a newer binary: %v", err)
	}
}

// TestModule holds that a reload keeps the connections, and that an app that
// writes after the end of its configuration can.
func TestModule(t *testing.T) {
	dsn := testpg.Start(t).DSN()
	provision := func() *Module {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		t.Cleanup(cancel)
		m := &Module{Config: pgdb.Config{DSN: dsn}}
		if err := m.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		return m
	}
	old, next := provision(), provision()
	if old.storage != next.storage {
		t.Error("a reload connects again")
	}
	if err := errors.Join(old.Cleanup(), next.storage.Store(context.Background(), "k", []byte("v")), next.Cleanup()); err != nil {
		t.Fatal(err)
	}
	st, err := next.CertMagicStorage()
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Store(context.Background(), "late", []byte("v")); err != nil {
		t.Errorf("after the end: %v", err)
	}
}
