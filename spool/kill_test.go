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

package spool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// The process that is killed is this test's program, started anew with these.
const (
	envChild = "MAILGATEWAY_SPOOL_CHILD" // the ledger's address
	envDir   = "MAILGATEWAY_SPOOL_DIR"
	envOp    = "MAILGATEWAY_SPOOL_OP"  // the operation to die at; empty: none
	envNth   = "MAILGATEWAY_SPOOL_NTH" // of that kind

	envPoison = "MAILGATEWAY_SPOOL_POISON" // the directory of a child that dies of reports
)

// killFS is the disk, with a process that dies at one of its operations.
type killFS struct {
	disk.OS
	op  string
	nth atomic.Int64
}

func (k *killFS) at(op string) {
	if op == k.op && k.nth.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (k *killFS) Create(path string) (disk.File, error) {
	k.at("create")
	f, err := k.OS.Create(path)
	return &killFile{f, k}, err
}

func (k *killFS) Open(path string) (disk.File, error) {
	f, err := k.OS.Open(path)
	return &killFile{f, k}, err
}

func (k *killFS) Rename(from, to string) error {
	k.at("rename")
	defer k.at("renamed")
	return k.OS.Rename(from, to)
}

func (k *killFS) Remove(path string) error {
	k.at("remove")
	defer k.at("removed")
	return k.OS.Remove(path)
}

func (k *killFS) SyncDir(path string) error {
	k.at("syncdir")
	defer k.at("syncdired")
	return k.OS.SyncDir(path)
}

type killFile struct {
	disk.File
	k *killFS
}

func (f *killFile) WriteAt(p []byte, off int64) (int, error) {
	f.k.at("write")
	// A write that is cut off in the middle.
	if len(p) > 1 {
		n, err := f.File.WriteAt(p[:len(p)/2], off)
		if err != nil {
			return n, err
		}
		f.k.at("torn")
	}
	return f.File.WriteAt(p, off)
}

func (f *killFile) Sync() error {
	f.k.at("sync")
	defer f.k.at("synced")
	return f.File.Sync()
}

var killOps = []string{"create", "write", "torn", "sync", "synced", "rename", "renamed", "syncdir", "syncdired", "remove", "removed", "told"}

// ledger is the provider, and the client's memory of what was promised. It
// outlives the processes that are killed.
type ledger struct {
	mu       sync.Mutex
	promised map[string]bool
	noted    map[string]bool // the journal says that the provider has it
	got      map[string]int
	wrong    []string
}

func (l *ledger) serve(conn net.Conn) {
	defer conn.Close()
	sc := bufio.NewScanner(conn)
	for sc.Scan() {
		what, id, _ := strings.Cut(sc.Text(), " ")
		l.mu.Lock()
		switch what {
		case "promised":
			l.promised[id] = true
		case "noted":
			l.noted[id] = true
		case "deliver":
			l.got[id]++
			if l.noted[id] {
				l.wrong = append(l.wrong, id)
			}
		}
		l.mu.Unlock()
		if _, err := io.WriteString(conn, "ok\n"); err != nil {
			return
		}
	}
}

// teller is a child's connection to the ledger.
type teller struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
}

func (c *teller) say(what, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.conn, what+" "+id+"\n"); err != nil {
		return err
	}
	_, err := c.r.ReadString('\n')
	return err
}

// teller is a provider as well.
type childProvider struct {
	relay.Transport
	c *teller
	k *killFS
}

func (p *childProvider) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	return &childTx{p}, nil
}

type childTx struct{ p *childProvider }

func (*childTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }
func (*childTx) Abort()                                                {}

var receivedID = regexp.MustCompile(`\tid ([0-9a-f]{24});`)

func (tx *childTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return relay.Reply{}, err
	}
	id := receivedID.FindSubmatch(b)
	if id == nil {
		return relay.Reply{}, fmt.Errorf("no id in %.80q", b)
	}
	if err := tx.p.c.say("deliver", string(id[1])); err != nil {
		return relay.Reply{}, err
	}
	tx.p.k.at("told") // after the provider's 250, and before the line
	return *relay.ReplyOK, nil
}

// TestKilledChild is the process that is killed; it does nothing by itself.
func TestKilledChild(t *testing.T) {
	addr := os.Getenv(envChild)
	if addr == "" {
		t.Log("only as a child of TestKilled")
		return
	}
	conn, err := net.Dial("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &teller{conn: conn, r: bufio.NewReader(conn)}
	k := &killFS{op: os.Getenv(envOp)}
	nth, _ := strconv.Atoi(os.Getenv(envNth))
	k.nth.Store(int64(nth))
	dir := os.Getenv(envDir)
	// What the journals say before anything is tried.
	look := store.New(disk.OS{}, dir)
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"+store.MessageExt))
	for _, path := range files {
		id := strings.TrimSuffix(filepath.Base(path), store.MessageExt)
		st, err := look.Read(id)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if replay(st, time.Now()).finished() {
			if err := c.say("noted", id); err != nil {
				t.Fatal(err)
			}
		}
	}
	tr := start(t, k, nil, func(tr *Transport) {
		tr.next = &childProvider{c: c, k: k}
		tr.Directory, tr.GiveUpAfter = dir, caddy.Duration(time.Hour)
	})
	if k.op == "" {
		// The last one: everything is due now.
		for _, m := range Messages("", "") {
			_ = Release(m.ID)
		}
		await(t, tr)
		stop(tr)
		return
	}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for {
				reply, err := send(tr, fmt.Sprint("account", i), "text\r\n")
				if err != nil {
					continue
				}
				if c.say("promised", strings.TrimPrefix(reply.Lines[0], "2.0.0 Queued as ")) != nil {
					return
				}
			}
		})
	}
	clients.Wait()
}

// killing is a directory, its ledger, and the processes that are killed.
type killing struct {
	*ledger
	t         *testing.T
	addr, dir string
	kills     int
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	base, err := os.MkdirTemp("", "spool") // a socket's name is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	k := &killing{t: t, addr: filepath.Join(base, "s"), dir: filepath.Join(base, "d"), ledger: &ledger{
		promised: make(map[string]bool), noted: make(map[string]bool), got: make(map[string]int),
	}}
	ln, err := net.Listen("unix", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { k.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return k
}

// run runs a process that dies at the nth operation of a kind, or sends all that is there
// if it is told of none, and with a tracer in front that may kill it. It reports whether
// it was killed.
func (k *killing) run(op string, nth int, tracer ...string) bool {
	k.t.Helper()
	args := append(tracer, os.Args[0], "-test.run=^TestKilledChild$", "-test.timeout=5m")
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), envChild+"="+k.addr, envDir+"="+k.dir, envOp+"="+op, envNth+"="+strconv.Itoa(nth))
	out, err := cmd.CombinedOutput()
	dead := killed(err)
	if dead {
		k.kills++
	}
	if op != "" && !dead || !dead && err != nil || dead && op == "" && tracer == nil {
		k.t.Fatalf("the process that was to die at %s %d: %v\n%s", op, nth, err, out)
	}
	return dead
}

func (k *killing) promises() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.promised)
}

// judge says what became of what was promised.
func (k *killing) judge() {
	t, l := k.t, k.ledger
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, twice := 0, 0
	for id := range l.promised {
		switch n := l.got[id]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	t.Logf("%d messages answered with 250, killed %d times, %d lost, %d delivered more than once", len(l.promised), k.kills, lost, twice)
	if lost > 0 {
		t.Errorf("%d of %d messages were answered with 250 and are lost", lost, len(l.promised))
	}
	if len(l.wrong) > 0 {
		t.Errorf("%d messages were sent again though their journal says that the provider has them: %v", len(l.wrong), l.wrong[0])
	}
	if twice > 8*k.kills {
		t.Errorf("%d delivered more than once after %d kills: more than were under way", twice, k.kills)
	}
}

// TestKilled kills the process with SIGKILL at every kind of step, again and
// again on one directory, until so many messages were answered with 250: none is
// lost, and none is sent again of which the journal says that the provider has
// it. MAILGATEWAY_SPOOL_MESSAGES is how many (default 600, 10000 takes minutes).
func TestKilled(t *testing.T) {
	want := 600
	if n, err := strconv.Atoi(os.Getenv("MAILGATEWAY_SPOOL_MESSAGES")); err == nil {
		want = n
	}
	k := newKilling(t)
	for k.promises() < want || k.kills < len(killOps) {
		k.run(killOps[k.kills%len(killOps)], 1+rand.IntN(1+want/8))
	}
	k.run("", 0)
	k.judge()
}

// TestPoisonousReportChild is a process that dies of each report that it makes.
func TestPoisonousReportChild(t *testing.T) {
	dir := os.Getenv(envPoison)
	if dir == "" {
		t.Log("only as a child of TestPoisonousReport")
		return
	}
	k := &killFS{op: "create"}
	k.nth.Store(1)
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"+store.MessageExt))
	if len(files) == 0 {
		k.nth.Store(2) // after the message
	}
	p := newProvider()
	p.reply = noSuchUser
	tr := start(t, k, p, func(tr *Transport) { tr.Directory = dir })
	defer stop(tr)
	if len(files) == 0 {
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); tr.engine.status().Held == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("neither dead nor held: %+v", Messages("", ""))
		}
	}
}

// TestPoisonousReport holds that a message is held of whose report the process dies
// three times, at whose start it is made, and that a release has it made.
func TestPoisonousReport(t *testing.T) {
	dir := t.TempDir()
	kills := 0
	for {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPoisonousReportChild$", "-test.timeout=5m") //nolint:gosec // this program
		cmd.Env = append(os.Environ(), envPoison+"="+dir)
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if kills++; !killed(err) || kills > poisonous+1 {
			t.Fatalf("death %d: %v\n%s", kills, err, out)
		}
	}
	if kills < poisonous {
		t.Errorf("held after %d deaths", kills)
	}
	p := newProvider()
	tr := start(t, disk.OS{}, p, func(tr *Transport) { tr.Directory = dir })
	defer stop(tr)
	list := Messages("", "")
	if len(list) != 1 || list[0].Why != illness.WhyPoison {
		t.Fatalf("%+v", list)
	}
	if err := Release(list[0].ID); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	if len(p.order) != 1 || !strings.Contains(p.order[0], list[0].ID) {
		t.Errorf("released: %q", p.order)
	}
}

func killed(err error) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // what exec returns
	if !ok {
		return false
	}
	ws, ok := e.Sys().(syscall.WaitStatus)
	return ok && ws.Signal() == syscall.SIGKILL
}
