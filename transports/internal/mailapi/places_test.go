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

package mailapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// owner is an upstream whose limits count.
type owner struct{ lim limits.Limiter }

func (o owner) Limiter() limits.Limiter { return o.lim }

// pool is a pool of connections of the mailbox, which keeps all of them idle.
type pool struct {
	limits.Holder
	open atomic.Int32
}

func newPool(t *testing.T, lim limits.Limiter) *pool {
	acct := lim.Account(boxKey(mailbox()), "other", nil)
	p := &pool{Holder: acct.Holder()}
	p.OnRecall(func(int) {})
	t.Cleanup(func() {
		for p.open.Add(-1) >= 0 {
			p.Free()
		}
		p.Close()
		acct.Close()
	})
	return p
}

func (p *pool) take() bool {
	taken := p.Take(func() {
		if p.Yield() != limits.NoDebt {
			p.open.Add(-1)
			p.Free()
		}
	})
	if taken {
		p.open.Add(1)
	}
	return taken
}

// TestPlacesOfTheLedger holds that the requests of an upstream which counts with
// another are connections of the other's mailbox: together they have no more than
// it has, and what lies idle there makes room.
func TestPlacesOfTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := limits.NewLocal("smtp", limits.Config{Limits: accounts.Limits{MaxConns: 3}})
		defer lim.Shut()
		smtp := newPool(t, lim)
		for range 3 {
			if !smtp.take() {
				t.Fatal("no connection, though none is in use")
			}
		}
		u := limited(t, &Upstream{MaxWait: time.Minute})
		u.shared = owner{lim}
		l := newLedger()
		var places []*place
		for open := int32(2); open >= 0; open-- {
			p, waited, err := l.enter(t.Context(), u, mailbox())
			if err != nil {
				t.Fatal(err)
			}
			if smtp.open.Load() > open || waited > 2*time.Second {
				t.Errorf("%d connections beside %d requests, after %v", smtp.open.Load(), len(places)+1, waited)
			}
			places = append(places, p)
		}
		if smtp.take() {
			t.Error("a fourth connection")
		}
		got := make(chan time.Duration)
		go func() {
			p, waited, err := l.enter(context.Background(), u, mailbox())
			if err != nil {
				t.Error(err)
			} else {
				p.leave(Outcome{Sent: true})
			}
			got <- waited
		}()
		time.Sleep(5 * time.Second)
		if !(&transaction{place: places[0]}).Wanted() {
			t.Error("a place is not wanted, and a message waits for it")
		}
		places[0].leave(Outcome{Sent: true})
		if waited := <-got; waited < 5*time.Second || waited > 6*time.Second {
			t.Errorf("the fourth message waited %v for a connection that was free after 5 s", waited)
		}
		if (&transaction{place: places[1]}).Wanted() {
			t.Error("a place is wanted, and no message waits")
		}
		for _, p := range places[1:] {
			p.leave(Outcome{Sent: true})
		}
		if !smtp.take() {
			t.Error("the requests are over, and their connections are not free")
		}
		if b := l.boxes[boxKey(mailbox())]; b.seat != nil || b.busy != 0 {
			t.Errorf("%d requests are left", b.busy)
		}
	})
}

// TestPlacesOfProcesses holds that two processes on one storage have no more
// requests of a mailbox together than it may have, and that each gets some.
func TestPlacesOfProcesses(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	process := func() (*ledger, *Upstream) {
		u := limited(t, &Upstream{MaxWait: time.Minute})
		u.Storage, u.Logger = storage, zap.NewNop()
		l := newLedger()
		l.attach(u)
		t.Cleanup(func() { l.detach(u) })
		return l, u
	}
	var mu sync.Mutex
	open, peak := 0, 0
	done := make(chan error)
	for range 2 {
		l, u := process()
		for range 6 {
			go func() {
				p, _, err := l.enter(context.Background(), u, mailbox())
				if err == nil {
					mu.Lock()
					open++
					peak = max(peak, open)
					mu.Unlock()
					time.Sleep(time.Millisecond) // a request
					mu.Lock()
					open--
					mu.Unlock()
					p.leave(Outcome{Sent: true})
				}
				done <- err
			}()
		}
	}
	for range 12 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if peak > 4 {
		t.Errorf("%d requests at a time of two processes, and 4 are allowed", peak)
	}
}

// leased lets everything be lent until its lease ends.
type leased struct {
	local atomic.Pointer[limits.Local]
	until atomic.Int64
}

func (l *leased) Adopt(local *limits.Local) { l.local.Store(local) }
func (l *leased) Release(*limits.Local)     {}
func (l *leased) Until() int64              { return l.until.Load() }
func (l *leased) Dropped(string)            {}
func (l *leased) Due(string)                {}
func (l *leased) Lacks(mailbox string) {
	if l.until.Load() == 0 {
		return
	}
	go l.local.Load().Look(mailbox, func(b *limits.Book) {
		for _, it := range b.Items() {
			b.Allow(it.Key, 1000)
		}
		b.Serve()
	})
}

// slow is a source whose tokens take longer than a lease.
type slow struct {
	tokens
	ends func()
}

func (s slow) Token(ctx context.Context, r grant.Request) (*oauth2.Token, error) {
	s.ends()
	return s.tokens.Token(ctx, r)
}

// TestLeaseEnds has the right to lend end while a message waits for its token, and
// while a refused one is replaced: no request leaves after that.
func TestLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease := new(leased)
		requests, status := 0, http.StatusOK
		u := scripted(t, new(Upstream), func(*http.Request) int {
			requests++
			return status
		})
		u.Read = func(ans *Answer) Verdict {
			if ans.Status == http.StatusOK {
				return Verdict{Reply: relay.ReplyAPIOK("1"), Outcome: Outcome{Sent: true}}
			}
			return Verdict{Reply: relay.ReplyAPI(454, 4, 7, 0, "token"), Outcome: Outcome{}}
		}
		u.lender = lease
		l := newLedger()
		l.attach(u)
		defer l.detach(u)
		asked, ends := 0, 0
		u.Tokens = slow{ends: func() {
			if asked++; asked == ends {
				lease.until.Store(0)
			}
		}}
		for _, tc := range []struct {
			name           string
			status, ends   int
			want, requests int
		}{
			{"never", http.StatusOK, 0, 250, 1},
			{"at the token", http.StatusOK, 1, 451, 0},
			{"at the second token", http.StatusUnauthorized, 2, 451, 1},
			{"never, and the token is refused", http.StatusUnauthorized, 0, 454, 2},
		} {
			lease.until.Store(math.MaxInt64)
			asked, ends, requests, status = 0, tc.ends, 0, tc.status
			code := 250
			if err := sendOne(t, l, u, mailbox()); err != nil {
				r, ok := errors.AsType[*relay.Reply](err)
				if !ok {
					t.Fatal(err)
				}
				code = r.Code
			}
			if code != tc.want || requests != tc.requests {
				t.Errorf("the lease ends %s: %d and %d requests, want %d and %d", tc.name, code, requests, tc.want, tc.requests)
			}
		}
	})
}

// TestVerifyTakesAPlace holds that a test of the mailbox is one of its requests, waits
// for its turn as a message does, and counts as none.
func TestVerifyTakesAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		u := scripted(t, &Upstream{MaxWait: time.Minute}, func(*http.Request) int { requests++; return http.StatusBadRequest })
		u.Limits = accounts.Limits{MaxConns: 1, Messages: accounts.Rate{Count: 2, Per: time.Minute}}
		u.Allowed = func(*Answer) bool { return true }
		l := ledgerOf(u.name)
		l.attach(u)
		defer func() {
			l.detach(u)
			ledgersMu.Lock()
			delete(ledgers, u.name) // it outlives an upstream, and so a test that is run again
			ledgersMu.Unlock()
		}()
		p, _, err := l.enter(t.Context(), u, mailbox())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- u.Verify(context.Background(), mailbox(), "", func(relay.VerifyStep) {}) }()
		synctest.Wait()
		if requests != 0 {
			t.Error("a second request beside the only one")
		}
		p.leave(Outcome{Sent: true, Hold: time.Hour})
		if err := <-done; err != nil || requests != 1 {
			t.Errorf("%d requests, %v", requests, err)
		}
		var st relay.AccountStatus
		l.account(u, mailbox(), &st)
		if st.Limits[0].Used != 1 || st.Connections.Busy != 0 {
			t.Errorf("%d messages count, %d requests are under way", st.Limits[0].Used, st.Connections.Busy)
		}
	})
}
