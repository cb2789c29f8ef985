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

package upstreampool

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// warmUpstream has n accounts with idle connections each.
func warmUpstream(tb testing.TB, n, idle int) (*upstream, []*accounts.Account) {
	tb.Helper()
	tr := &SMTPTransport{
		Dial: "127.0.0.1:1", TLS: &UpstreamTLS{Mode: smtpclient.NoTLS}, Auth: &UpstreamAuth{Mechanism: smtpclient.AuthNone},
		MaxConns: n*idle + 1, MaxConnsPerAccount: idle, MaxMessagesPerConn: 1 << 40,
		RatePerAccount: accounts.Rate{Count: 1 << 40, Per: time.Minute},
	}
	s, err := tr.resolve(tb.Name())
	if err != nil {
		tb.Fatal(err)
	}
	s.idleTimeout, s.maxAge = time.Hour, time.Hour
	u := newUpstream(s.name)
	fake(u, nil)
	u.attach(s)
	list := make([]*accounts.Account, n)
	for i := range list {
		list[i] = testAccount(fmt.Sprintf("account%d@a.test", i))
		held := make([]*conn, idle)
		var ac *account
		for j := range held {
			if ac, held[j], _, err = u.acquire(context.Background(), list[i], false); err != nil {
				tb.Fatal(err)
			}
		}
		for _, c := range held {
			ac.release(c, usage{}, true)
		}
	}
	tb.Cleanup(func() { endUpstream(u) })
	return u, list
}

func cycle(tb testing.TB, u *upstream, a *accounts.Account) {
	ac, c, _, err := u.acquire(context.Background(), a, false)
	if err != nil {
		tb.Fatal(err)
	}
	ac.release(c, usage{sent: true, rcpts: 1}, true)
}

// BenchmarkPool is flat: a message's cost depends neither on the number of
// accounts nor on the number of idle connections.
func BenchmarkPool(b *testing.B) {
	for _, n := range []struct{ accounts, idle int }{{1, 2}, {100, 2}, {10_000, 2}, {1, 100}, {1, 10_000}} {
		b.Run(fmt.Sprintf("accounts=%d/idle=%d", n.accounts, n.idle), func(b *testing.B) {
			u, list := warmUpstream(b, n.accounts, n.idle)
			var next atomic.Uint64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := next.Add(7919); pb.Next(); i++ {
					cycle(b, u, list[i%uint64(len(list))])
				}
			})
		})
	}
}

func TestPoolAllocatesNothing(t *testing.T) {
	u, list := warmUpstream(t, 100, 3)
	cycle(t, u, list[0])
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		cycle(t, u, list[i%len(list)])
		i++
	}); n != 0 {
		t.Errorf("%v allocations for acquire and release", n)
	}
}

// BenchmarkMessage is a whole message over loopback, provider included.
func BenchmarkMessage(b *testing.B) {
	for _, way := range []string{"two flights", "one flight"} {
		b.Run(way, func(b *testing.B) {
			p := newBenchProvider(b)
			tr := &SMTPTransport{
				Dial: p, TLS: &UpstreamTLS{Mode: smtpclient.NoTLS}, Auth: &UpstreamAuth{Mechanism: smtpclient.AuthNone}, MaxMessagesPerConn: 1 << 40,
			}
			s, err := tr.resolve(strings.ReplaceAll(b.Name(), "/", "-"))
			if err != nil {
				b.Fatal(err)
			}
			u := newUpstream(s.name)
			u.attach(s)
			b.Cleanup(func() { endUpstream(u) })
			a := testAccount("a@a.test")
			body := strings.Repeat("0123456789abcdef0123456789abcde\r\n", 128)
			r := strings.NewReader(body)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				r.Reset(body)
				if way == "one flight" {
					if _, _, err := u.send(context.Background(), a, "from@a.test", nil, relay.Recipient{To: "to@b.test"}, r); err != nil {
						b.Fatal(err)
					}
					continue
				}
				tx, err := u.begin(context.Background(), a, "from@a.test", nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := tx.Rcpt(context.Background(), "to@b.test", nil); err != nil {
					b.Fatal(err)
				}
				if _, err := tx.Data(context.Background(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
