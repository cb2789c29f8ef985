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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// TestAccountsShareTheMailbox sends from four accounts of one mailbox at once:
// the provider counts 3 connections, 30 messages a minute and 50 a day.
func TestAccountsShareTheMailbox(t *testing.T) {
	for _, daily := range []int64{50, 20} {
		t.Run(strconv.FormatInt(daily, 10), func(t *testing.T) { shareMailbox(t, daily) })
	}
}

func shareMailbox(t *testing.T, daily int64) {
	p := newProvider(t)
	s := testSettings(t, p)
	s.maxConnsPerAccount, s.maxWait = 3, 200*time.Millisecond
	s.rate = accounts.Rate{Count: 30, Per: time.Minute}
	s.messages = accounts.Rate{Count: daily, Per: day}
	u := start(t, s)
	var wg sync.WaitGroup
	var sent atomic.Int64
	for i := range 4 {
		a := testAccount(fmt.Sprintf("device%d", i))
		a.Mailbox = "Shared@a.test"
		for range 4 {
			wg.Go(func() {
				for range 10 {
					if deliver(u, a, "x\r\n") == nil {
						sent.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	p.mu.Lock()
	most, held := p.maxOpen, len(p.messages)
	p.mu.Unlock()
	if want := min(30, daily); sent.Load() != want || held != int(want) {
		t.Errorf("%d messages, %d held, want %d", sent.Load(), held, want)
	}
	if most > 3 {
		t.Errorf("%d connections", most)
	}
}

// TestPasswordsOfOneMailbox lets accounts of one mailbox log in differently:
// they share the connections' number and never a connection.
func TestPasswordsOfOneMailbox(t *testing.T) {
	p := newProvider(t)
	s := testSettings(t, p)
	s.maxConnsPerAccount, s.maxWait = 1, 10*time.Second
	u := start(t, s)
	for i := range 6 {
		a := testAccount(fmt.Sprintf("device%d", i%2))
		a.Mailbox, a.Secret = "shared@a.test", fmt.Sprintf("secret%d", i%2)
		if err := deliver(u, a, "x\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.maxOpen != 1 || p.conns != 6 {
		t.Errorf("%d connections at a time, %d in all", p.maxOpen, p.conns)
	}
}

// TestVerifyTakesAPlace verifies an account while its only connection is idle,
// busy and on its way out at a provider that is slow at QUIT: there is never a
// second.
func TestVerifyTakesAPlace(t *testing.T) {
	p := newProvider(t, func(p *provider) {
		p.hook = func(s *serverConn, line string) string {
			switch {
			case !strings.HasPrefix(line, "QUIT"):
			case s.n == 1:
				time.Sleep(quitTimeout + 200*time.Millisecond) // longer than the end of the process waits
			default:
				time.Sleep(100 * time.Millisecond)
			}
			return ""
		}
	})
	tr := &SMTPTransport{
		Dial: p.ln.Addr().String(), Hostname: "gateway.test", MaxConnsPerAccount: 1,
		TLS: &UpstreamTLS{Mode: smtpclient.NoTLS}, Auth: &UpstreamAuth{Mechanism: smtpclient.AuthPlain}, logger: testSettings(t, p).Logger,
	}
	if err := tr.Bind("verify-place"); err != nil {
		t.Fatal(err)
	}
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = tr.Detach()
		tr.upstream.closing.Wait()
		tr.upstream.limits.Wait()
	}()
	a := testAccount("a@a.test")
	var wg sync.WaitGroup
	for range 3 {
		if err := deliver(tr.upstream, a, "x\r\n"); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := tr.Verify(context.Background(), a, "", func(relay.VerifyStep) {}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := deliver(tr.upstream, a, "y\r\n"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.maxOpen != 1 {
		t.Errorf("%d connections at a time", p.maxOpen)
	}
}
