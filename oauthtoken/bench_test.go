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
	"io"
	"log"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

var discardLog = log.New(io.Discard, "", 0)

// warmApp has n accounts with valid tokens, without any request.
func warmApp(b testing.TB, n, size int) (*testApp, []string) {
	a := newApp(b, config(b.TempDir(), "https://id.test", nil))
	p := a.served["p"]
	names := make([]string, n)
	now := time.Now()
	for i := range n {
		names[i] = fmt.Sprintf("account%d@example.com", i)
		e := p.man.entry(names[i])
		rec := &tokenstore.Record{Subject: names[i], Seq: 1, ClientID: "client", RefreshToken: strings.Repeat("r", 100) + names[i], LastRefresh: now}
		rec.AddSeed("seed")
		e.mu.Lock()
		e.setRecord(rec)
		e.cur.Store(newGrantToken(p, strings.Repeat("a", size)+names[i], "seed", now, now.Add(time.Hour)))
		p.man.setState(e, stateOK)
		p.man.background(p, e, now)
		e.mu.Unlock()
	}
	return a, names
}

func BenchmarkTokenHit(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, names := warmApp(b, n, 200)
			ctx := context.Background()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					name := names[i%n]
					if _, err := a.Token(ctx, ask("p", name, name, "seed")); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkMemory reports what an account costs, besides the bytes of its
// own access token (2,000 here) and refresh token (120).
func BenchmarkMemory(b *testing.B) {
	const n, size = 10000, 2000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		a, names := warmApp(b, n, size)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n-size, "B/account")
		runtime.KeepAlive(names)
		a.stop()
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	a, names := warmApp(t, 100, 200)
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := a.Token(ctx, ask("p", names[7], names[7], "seed")); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
