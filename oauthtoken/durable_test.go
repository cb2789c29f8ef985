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
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/pgdb"
	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
	"github.com/caddymail/mailgateway/storage/postgres"
)

func init() { caddy.RegisterModule(new(pgStore)) }

// pgStore is the real store over a database. It notes when a record was durable.
type pgStore struct {
	DSN   string `json:"dsn"`
	Conns int    `json:"conns"`
	*tokenstore.StorageStore
}

func (*pgStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens.stores.pg", New: func() caddy.Module { return new(pgStore) }}
}

func (s *pgStore) Provision(ctx caddy.Context) error {
	storage, err := postgres.Open(ctx, pgdb.Config{DSN: s.DSN, MaxConns: s.Conns})
	if err != nil {
		return err
	}
	ctx.OnCancel(storage.Close)
	s.StorageStore = tokenstore.NewStorageStore(notingStorage{storage})
	return nil
}

type notingStorage struct{ *postgres.Storage }

// durable tells of the records that were written, by the end of their keys.
var durable sync.Map // of func()

func (s notingStorage) Swap(ctx context.Context, key string, was, seq uint64, value []byte) error {
	err := s.Storage.Swap(ctx, key, was, seq, value)
	if f, ok := durable.Load(path.Base(key)); ok && err == nil {
		f.(func())()
	}
	return err
}

// BenchmarkAnswerToDurable measures how long a new refresh token is in memory only:
// from its answer until it is in a database with a synchronous standby. Two nodes
// refresh for the same mailboxes, and so wait for each other's locks.
func BenchmarkAnswerToDurable(b *testing.B) {
	const mailboxes, conns = 40, 4
	pg := testpg.StartPair(b)
	s := newEndpoint(b)
	var (
		mu       sync.Mutex
		answered = make(map[string]time.Time) // by mailbox
		spans    []time.Duration
	)
	s.setFault(func(_ http.ResponseWriter, r *http.Request, _ int, after bool) bool {
		if after {
			mu.Lock()
			defer mu.Unlock()
			s.mu.Lock()
			answered[s.byToken[r.PostForm.Get("refresh_token")].fam.name] = time.Now()
			s.mu.Unlock()
		}
		return false
	})
	name := func(i int) string { return fmt.Sprint("box", i) }
	seeds := make([]string, mailboxes)
	for i := range seeds {
		seeds[i] = s.seed(name(i))
		key := path.Base(tokenstore.StorageKey("p", name(i)))
		durable.Store(key, func() {
			mu.Lock()
			defer mu.Unlock()
			if at, ok := answered[name(i)]; ok {
				spans = append(spans, time.Since(at))
				delete(answered, name(i))
			}
		})
		defer durable.Delete(key)
	}
	var nodes [2]*testApp
	for i := range nodes {
		// Of different managers, as two processes are.
		cfg := config("", s.URL, map[string]any{"client_id": fmt.Sprint("client", i)})
		cfg["store"] = map[string]any{"store": "pg", "dsn": pg.DSN(), "conns": conns}
		nodes[i] = newApp(b, cfg)
	}
	rounds := make(chan struct{})
	var wg sync.WaitGroup
	for i := range mailboxes {
		for _, a := range nodes {
			wg.Go(func() {
				for range rounds {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					tok, err := a.Token(ctx, ask("p", name(i), name(i), seeds[i]))
					cancel()
					if err != nil {
						b.Error(err)
						continue
					}
					a.Reject(ask("p", name(i), name(i), ""), tok)
				}
			})
		}
	}
	b.ResetTimer()
	for range b.N * mailboxes {
		rounds <- struct{}{}
	}
	close(rounds)
	wg.Wait()
	b.StopTimer()
	slices.Sort(spans)
	at := func(q float64) float64 { return spans[int(q*float64(len(spans)-1))].Seconds() * 1e3 }
	b.ReportMetric(at(0.5), "ms-p50")
	b.ReportMetric(at(0.95), "ms-p95")
	b.ReportMetric(at(1), "ms-most")
	b.ReportMetric(float64(len(spans))/b.Elapsed().Seconds(), "refreshes/s")
	b.ReportMetric(0, "ns/op")
}
