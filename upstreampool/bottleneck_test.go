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
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/oauth2"

	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/upstreampool/meter"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// The proofs of docs/bottlenecks.md that no other test gives.

// TestStuckAccountsHoldNobodyUp holds that an account whose login hangs costs
// the others nothing: no lock is shared, and none held while waiting.
func TestStuckAccountsHoldNobodyUp(t *testing.T) {
	release := make(chan struct{})
	hanging := make(chan struct{}, 20)
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if strings.HasPrefix(line, "AUTH PLAIN "+b64("\x00stuck")[:8]) {
				hanging <- struct{}{}
				<-release
			}
			return ""
		}
	})
	u := start(t, testSettings(t, p))
	var wg sync.WaitGroup
	errs := make([]error, cap(hanging))
	for i := range errs {
		a := testAccount(fmt.Sprintf("stuck%d@a.test", i))
		wg.Go(func() { errs[i] = deliver(u, a, "x") })
	}
	for range errs {
		<-hanging
	}
	for i := range 200 {
		if err := deliver(u, testAccount(fmt.Sprintf("free%d@a.test", i%50)), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if n := u.count(); n.Opening != len(errs) {
		t.Errorf("%+v: the stuck ones are not stuck any more", n)
	}
	close(release)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// TestDialsAreParallel holds that an account's connections are opened beside
// each other: the provider lets none log in before all have come.
func TestDialsAreParallel(t *testing.T) {
	const n = 10
	var all sync.WaitGroup
	all.Add(n)
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if strings.HasPrefix(line, "AUTH") {
				all.Done()
				all.Wait()
			}
			return ""
		}
	})
	u := start(t, testSettings(t, p, func(tr *SMTPTransport) { tr.MaxConnsPerAccount = n }))
	a := testAccount("a@a.test")
	var done, begun sync.WaitGroup
	begun.Add(n)
	errs := make([]error, n)
	for i := range n {
		done.Go(func() {
			tx, err := u.begin(context.Background(), a, "from@a.test", nil)
			begun.Done()
			if errs[i] = err; err == nil {
				begun.Wait() // each needs a connection of its own
				tx.Abort()
			}
		})
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// TestSilentQuitHoldsNobodyUp holds that messages do not wait for the end of
// connections: the provider never answers QUIT.
func TestSilentQuitHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if line == "QUIT" {
				<-release
			}
			return ""
		}
	})
	// Releases before the provider and the upstream end.
	u := start(t, testSettings(t, p, func(tr *SMTPTransport) { tr.MaxMessagesPerConn = 1 }))
	t.Cleanup(func() { close(release) })
	for i := range 50 {
		if err := deliver(u, testAccount(fmt.Sprintf("a%d@a.test", i%5)), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if p.dialed() != 50 || len(p.got()) != 50 {
		t.Errorf("%d messages by %d connections", len(p.got()), p.dialed())
	}
}

// hangingTokens never answers.
type hangingTokens struct {
	tokens
	asked, release chan struct{}
}

func (k *hangingTokens) Token(context.Context, oauthgrant.Request) (*oauth2.Token, error) {
	k.asked <- struct{}{}
	<-k.release
	return nil, errors.New("released")
}

// TestWarmDoesNotWait holds that a login does not wait for the token that it
// asks for, and asks once.
func TestWarmDoesNotWait(t *testing.T) {
	k := &hangingTokens{asked: make(chan struct{}, 10), release: make(chan struct{})}
	s := oauthSettings(t, newProvider(t), &k.tokens, smtpclient.XOAUTH2)
	s.Tokens = k
	u := start(t, s)
	a := testAccount("a@a.test")
	for range 10 {
		u.warm(a)
	}
	<-k.asked
	if len(k.asked) != 0 {
		t.Error("asked for more than one token")
	}
	close(k.release)
}

// BenchmarkScrape collects the metrics while messages go: what it costs, by
// the number of accounts with connections.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("accounts=%d", n), func(b *testing.B) {
			u, list := warmUpstream(b, n, 2)
			reg := prometheus.NewRegistry()
			if err := meter.Register(reg, connections); err != nil {
				b.Fatal(err)
			}
			stop := make(chan struct{})
			var load sync.WaitGroup
			load.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						cycle(b, u, list[i%n])
					}
				}
			})
			for b.Loop() {
				if _, err := reg.Gather(); err != nil {
					b.Fatal(err)
				}
			}
			close(stop)
			load.Wait()
		})
	}
}
