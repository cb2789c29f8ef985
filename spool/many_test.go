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

package spool

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// lazyFS is the disk without its syncs: what is measured is not the disk.
type lazyFS struct{ disk.OS }

func (lazyFS) SyncDir(string) error { return nil }

func (f lazyFS) Create(path string) (disk.File, error) { return lazy(f.OS.Create(path)) }
func (f lazyFS) Open(path string) (disk.File, error)   { return lazy(f.OS.Open(path)) }

func lazy(f disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return lazyFile{f}, nil
}

type lazyFile struct{ disk.File }

func (lazyFile) Sync() error { return nil }

// halfDead is a provider that one account cannot reach.
type halfDead struct {
	relay.Transport
	alive    atomic.Bool
	got      atomic.Int64 // of the dead one
	others   atomic.Int64
	attempts atomic.Int64 // of the dead one
}

func (p *halfDead) Begin(_ context.Context, a *accounts.Account, _ string, _ *smtp.MailOptions) (relay.Transaction, error) {
	if a.Name != "dead" {
		return &countTx{&p.others}, nil
	}
	if p.attempts.Add(1); !p.alive.Load() {
		return nil, relay.ReplyUpstreamDown
	}
	return &countTx{&p.got}, nil
}

type countTx struct{ n *atomic.Int64 }

func (*countTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }
func (*countTx) Abort()                                                {}

func (tx *countTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return relay.Reply{}, err
	}
	tx.n.Add(1)
	return *relay.ReplyOK, nil
}

// TestManyOfOne keeps many messages of an account that cannot send, while ten others'
// flow: these are not slowed down by it, memory and the start stay within bounds, and all
// leave when it can. MAILGATEWAY_SPOOL_MANY is how many (default 3,000).
func TestManyOfOne(t *testing.T) {
	many := 3000
	if n, err := strconv.Atoi(os.Getenv("MAILGATEWAY_SPOOL_MANY")); err == nil {
		many = n
	}
	p := new(halfDead)
	on := func(tr *Transport) {
		tr.Directory, tr.MaxMessages, tr.next = filepath.Join(t.TempDir(), "d"), many+1000, p
	}
	tr := start(t, lazyFS{}, nil, on)
	flow := func() time.Duration {
		const each = 50
		began, was := time.Now(), p.others.Load()
		for i := range each {
			for o := range 10 {
				if _, err := send(tr, fmt.Sprint("other", o), fmt.Sprint("text ", i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for p.others.Load() < was+10*each {
			time.Sleep(time.Millisecond)
		}
		return time.Since(began)
	}
	alone := flow()
	began := time.Now()
	for i := range many {
		if _, err := send(tr, "dead", fmt.Sprint("text ", i)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kept in %v, %d attempts", many, time.Since(began), p.attempts.Load())
	beside := flow()
	t.Logf("ten accounts' 500: %v alone, %v beside %d of another", alone, beside, many)
	if beside > 20*alone+time.Second {
		t.Errorf("the others take %v in place of %v", beside, alone)
	}
	dir := tr.Directory
	stop(tr)
	var before, after runtime.MemStats
	tr = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	began = time.Now()
	tr = start(t, lazyFS{}, nil, func(tr *Transport) { on(tr); tr.Directory = dir })
	defer func() { stop(tr) }()
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(many) //nolint:gosec // a test's
	t.Logf("start with %d: %v, %d octets of memory a message", many, took, each)
	if each > 4<<10 {
		t.Errorf("%d octets of memory a message", each)
	}
	p.alive.Store(true)
	began = time.Now()
	for _, m := range Messages("dead", "") {
		if err := Release(m.ID); err != nil {
			// Its turn came.
			continue
		}
	}
	t.Logf("released in %v", time.Since(began))
	for deadline := time.Now().Add(10 * time.Minute); p.got.Load() < int64(many); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d sent", p.got.Load(), many)
		}
	}
	t.Logf("all sent in %v", time.Since(began))
}
