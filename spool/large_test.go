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
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// sink is a provider that reads messages and keeps nothing.
type sink struct {
	relay.Transport
	down     atomic.Bool
	messages atomic.Int64
	octets   atomic.Int64
	look     func()
}

func (s *sink) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	if s.down.Load() {
		return nil, relay.ReplyUpstreamDown
	}
	return &sinkTx{s}, nil
}

type sinkTx struct{ s *sink }

func (*sinkTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }
func (*sinkTx) Abort()                                                {}

func (tx *sinkTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	n, err := io.Copy(io.Discard, r)
	if err != nil {
		return relay.Reply{}, err
	}
	tx.s.octets.Add(n)
	tx.s.messages.Add(1)
	if tx.s.look != nil {
		tx.s.look()
	}
	return *relay.ReplyOK, nil
}

// zeros is a body of so many octets that costs no memory.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// give sends a body as the tests' clients do.
func give(tr *Transport, account string, body io.Reader) error {
	ctx := context.Background()
	tx, err := tr.Begin(ctx, &accounts.Account{Record: accounts.Record{Name: account}}, "from@example.com", &smtp.MailOptions{})
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := tx.Rcpt(ctx, "to@example.org", &smtp.RcptOptions{}); err != nil {
		return err
	}
	_, err = tx.Data(ctx, body)
	return err
}

// TestMemory holds that large messages are kept and delivered in constant memory,
// eight at a time. MAILGATEWAY_SPOOL_LARGE is how many messages of 25 MiB there
// are; the default is few of them.
func TestMemory(t *testing.T) {
	const size = 25 << 20
	n := 8
	if v, err := strconv.Atoi(os.Getenv("MAILGATEWAY_SPOOL_LARGE")); err == nil {
		n = v
	}
	var base, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	var mu sync.Mutex
	var most uint64
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapInuse)
	}
	s := &sink{look: look}
	s.down.Store(true)
	tr := start(t, disk.OS{}, nil, func(tr *Transport) {
		tr.next, tr.Directory, tr.AlwaysKeep, tr.MaxSize = s, filepath.Join(t.TempDir(), "d"), false, 1<<40
	})
	defer stop(tr)
	work := make(chan int)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for i := range work {
				if err := give(tr, fmt.Sprint("account", i), zeros(size)); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
				look()
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	clients.Wait()
	kept := most
	s.down.Store(false)
	for _, m := range Messages("", "") {
		_ = Release(m.ID) // in the long form it may have left by itself
	}
	for deadline := time.Now().Add(time.Duration(20+n) * time.Second); tr.engine.status().Messages > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages are left", tr.engine.status().Messages)
		}
	}
	if got := s.messages.Load(); got != int64(n) {
		t.Errorf("%d messages arrived, of %d", got, n)
	}
	above := (most - base.HeapInuse) >> 20
	t.Logf("%d messages of 25 MiB: heap %d MiB above the start while they were kept, %d MiB at most", n, (kept-base.HeapInuse)>>20, above)
	if above > 24 {
		t.Errorf("the heap grew by %d MiB: less than one message is allowed", above)
	}
}

// BenchmarkDurable is how many messages a second become durable, by writers and
// size, to be read beside the figures of file-per-message queues.
func BenchmarkDurable(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, writers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%dKiB/%dwriters", size>>10, writers), func(b *testing.B) {
				fsys, s := disk.OS{}, store.New(disk.OS{}, filepath.Join(b.TempDir(), "d"))
				if err := fsys.Mkdir(s.Dir()); err != nil {
					b.Fatal(err)
				}
				s.Configure(nil, store.Bounds{Messages: 1 << 30, Octets: 1 << 50})
				body := bytes.Repeat([]byte("x"), size)
				var left atomic.Int64
				left.Store(int64(b.N))
				b.SetBytes(int64(size))
				b.ResetTimer()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							env := &record.Envelope{ID: store.NewID(time.Now()), Account: "a", Rcpts: []relay.Recipient{{To: "to@example.org"}}}
							k := store.NewKeeper(s, env, bytes.NewReader(body))
							if err := k.Rest(); err != nil {
								b.Error(err)
							}
							if err := k.Commit(); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkSynchronous is what a message costs with and without a spool in front
// while all is well.
func BenchmarkSynchronous(b *testing.B) {
	for _, size := range []int64{4 << 10, 1 << 20} {
		s := new(sink)
		tr := &Transport{Upstream: "p", Directory: filepath.Join(b.TempDir(), "d"), next: s, MinFree: -1, fs: disk.OS{}}
		run := func(name string, begin relay.Upstream) {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				ctx, a := context.Background(), &accounts.Account{Record: accounts.Record{Name: "a"}}
				b.ReportAllocs()
				for b.Loop() {
					tx, err := begin.Begin(ctx, a, "from@example.com", &smtp.MailOptions{})
					if err != nil {
						b.Fatal(err)
					}
					if err := tx.Rcpt(ctx, "to@example.org", &smtp.RcptOptions{}); err != nil {
						b.Fatal(err)
					}
					if _, err := tx.Data(ctx, zeros(size)); err != nil {
						b.Fatal(err)
					}
					tx.Abort()
				}
			})
		}
		run("without", s)
		tr.logger = zap.NewNop()
		if err := tr.Bind("kept"); err != nil {
			b.Fatal(err)
		}
		if err := tr.Attach(); err != nil {
			b.Fatal(err)
		}
		run("with", tr)
		stop(tr)
	}
}
