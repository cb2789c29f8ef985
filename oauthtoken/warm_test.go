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

package oauthtoken

import (
	"context"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// BenchmarkWarm is what the first token of each of 2,000 accounts costs, with
// the locks and the durable writes of Caddy's file storage, beside a store that
// keeps nothing. CPU includes the token endpoint's, which is in this process.
func BenchmarkWarm(b *testing.B) {
	for _, c := range []struct {
		name   string
		store  string
		static bool
	}{{"rotating", "files", false}, {"static", "files", true}, {"nothing", "nothing", false}} {
		b.Run(c.name, func(b *testing.B) {
			const n = 2000
			for b.Loop() {
				b.StopTimer()
				s := newEndpoint(b)
				s.static = c.static
				dir := b.TempDir()
				cfg := config(dir, s.URL, map[string]any{"max_parallel": 64})
				cfg["store"] = map[string]any{"store": c.store, "path": dir}
				a := newApp(b, cfg)
				seeds := make([]string, n)
				for i := range seeds {
					seeds[i] = s.seed(fmt.Sprint(i))
				}
				b.StartTimer()
				start, cpu := time.Now(), cpuTime(b)
				errs := make(chan error, n)
				for i := range n {
					go func() {
						_, err := a.Token(context.Background(), ask("p", fmt.Sprint(i), "", seeds[i]))
						errs <- err
					}()
				}
				for range n {
					if err := <-errs; err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(n/time.Since(start).Seconds(), "accounts/s")
				b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/n, "us-CPU/account")
				b.ReportMetric(float64(s.count())/n, "requests/account")
				b.StopTimer()
				a.stop()
				b.StartTimer()
			}
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func init() { caddy.RegisterModule(new(nothingStore)) }

// nothingStore keeps nothing.
type nothingStore struct {
	Path string `json:"path"`
}

func (*nothingStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "oauth_tokens.stores.nothing", New: func() caddy.Module { return new(nothingStore) }}
}
func (*nothingStore) Load(context.Context, string) ([]byte, error)   { return nil, fs.ErrNotExist }
func (*nothingStore) Save(context.Context, string, []byte) error     { return nil }
func (*nothingStore) Delete(context.Context, string) error           { return nil }
func (*nothingStore) List(context.Context, string) ([]string, error) { return nil, nil }
func (*nothingStore) Lock(context.Context, string) error             { return nil }
func (*nothingStore) Unlock(context.Context, string) error           { return nil }
