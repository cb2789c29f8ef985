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
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// limited is a transport of which only the limits are used.
func limited(t *testing.T, cfg *Upstream) *Upstream {
	t.Helper()
	cfg.Limits.MaxConns = cmp.Or(cfg.Limits.MaxConns, 4)
	cfg.MaxWait = cmp.Or(cfg.MaxWait, 30*time.Second)
	cfg.MaxSize = cmp.Or(cfg.MaxSize, 1<<30)
	cfg.name = t.Name()
	return cfg
}

// mailbox is the account of these tests.
func mailbox() *accounts.Account {
	return &accounts.Account{Record: accounts.Record{Name: "box@example.com", Mailbox: "box@example.com"}}
}

func enter(t *testing.T, tr *Upstream) (*place, error) {
	t.Helper()
	p, _, err := newLedger().enter(t.Context(), tr, mailbox())
	return p, err
}

// TestFourAtATime holds that a fifth message waits, and that a request without
// a clear answer keeps its place for a minute.
func TestFourAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, &Upstream{MaxWait: 10 * time.Minute})
		l := newLedger()
		var places []*place
		for range 4 {
			p, waited, err := l.enter(t.Context(), tr, mailbox())
			if err != nil || waited != 0 {
				t.Fatal(waited, err)
			}
			places = append(places, p)
		}
		got := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				_, waited, err := l.enter(context.Background(), tr, mailbox())
				if err != nil {
					t.Error(err)
				}
				got <- waited
			}()
		}
		time.Sleep(time.Second)
		places[0].leave(Outcome{Sent: true})
		if waited := <-got; waited != time.Second {
			t.Errorf("the fifth waited %v", waited)
		}
		places[1].leave(Outcome{Unknown: true})
		if waited := <-got; waited != time.Second+lingering {
			t.Errorf("the sixth waited %v", waited)
		}
	})
}

// TestShorterWait holds that what is in front may bound the wait.
func TestShorterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, &Upstream{MaxWait: time.Minute, Limits: accounts.Limits{MaxConns: 1}})
		l := newLedger()
		p, _, err := l.enter(t.Context(), tr, mailbox())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, _, err = l.enter(relay.WithMaxWait(t.Context(), time.Second), tr, mailbox())
		if took := time.Since(begin); !errors.Is(err, relay.ReplyNoConnection) || took != time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		p.leave(Outcome{Sent: true})
	})
}

// TestRate holds that what was not sent does not count, and that what was waits
// for its turn or is refused with the time.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, &Upstream{Limits: accounts.Limits{Rate: accounts.Rate{Count: 2, Per: time.Minute}}, MaxWait: 30 * time.Second})
		l := newLedger()
		try := func(out Outcome) (time.Duration, error) {
			p, waited, err := l.enter(t.Context(), tr, mailbox())
			if err == nil {
				p.leave(out)
			}
			return waited, err
		}
		for _, out := range []Outcome{{}, {Sent: true}, {}, {Unknown: true}} {
			if waited, err := try(out); err != nil || waited != 0 {
				t.Fatal(waited, err)
			}
		}
		if _, err := try(Outcome{Sent: true}); err == nil || err.Error() != "451 4.7.1 Message rate used up, next slot in 60 s" {
			t.Errorf("%v", err)
		}
		time.Sleep(40 * time.Second)
		if waited, err := try(Outcome{Sent: true}); err != nil || waited != 20*time.Second {
			t.Errorf("waited %v, %v", waited, err)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, &Upstream{MaxWait: time.Second})
		l := newLedger()
		p, _, err := l.enter(t.Context(), tr, mailbox())
		if err != nil {
			t.Fatal(err)
		}
		p.leave(Outcome{Hold: time.Minute})
		_, _, err = l.enter(t.Context(), tr, mailbox())
		if err == nil || !strings.HasPrefix(err.Error(), "451 4.7.1") || !strings.Contains(err.Error(), "60 s") {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
		if _, _, err = l.enter(t.Context(), tr, mailbox()); err != nil {
			t.Error(err)
		}
	})
}

func TestRecipientLimit(t *testing.T) {
	tr := limited(t, &Upstream{Limits: accounts.Limits{Recipients: accounts.Rate{Count: 2, Per: time.Hour}}})
	p, err := enter(t, tr)
	if err != nil {
		t.Fatal(err)
	}
	for i, full := range []bool{false, false, true} {
		if reply := p.recipient(t.Context()); (reply != nil) != full {
			t.Errorf("recipient %d: %v", i, reply)
		}
	}
	p.leave(Outcome{})
	var st relay.AccountStatus
	p.l.account(tr, mailbox(), &st)
	for _, limit := range st.Limits {
		if limit.Used != 0 {
			t.Errorf("%d %s count that were not sent", limit.Used, limit.Counts)
		}
	}
	if len(st.Limits) == 0 {
		t.Error("no limit is counted")
	}
}

// TestGivenUp holds that a client that goes leaves no place behind.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, &Upstream{Limits: accounts.Limits{MaxConns: 1}})
		l := newLedger()
		p, _, err := l.enter(t.Context(), tr, mailbox())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := l.enter(ctx, tr, mailbox()); !errors.Is(err, relay.ReplyNoConnection) {
			t.Errorf("%v", err)
		}
		if len(p.b.queue) != 0 || p.b.busy != 1 {
			t.Errorf("%d wait, %d are busy", len(p.b.queue), p.b.busy)
		}
	})
}

// TestRestart lets the upstream's process end, or stay while another one
// begins: what was sent counts there.
func TestRestart(t *testing.T) {
	for name, stays := range map[string]bool{"ended": false, "stays": true} {
		t.Run(name, func(t *testing.T) {
			const limit = 20
			storage := &certmagic.FileStorage{Path: t.TempDir()}
			sent := 0
			for _, n := range []int{3, limit + 1} {
				tr := limited(t, &Upstream{Limits: accounts.Limits{Messages: accounts.Rate{Count: limit, Per: 24 * time.Hour}}, MaxWait: 10 * time.Second})
				tr.Storage, tr.Logger = storage, zap.NewNop()
				l := newLedger()
				l.attach(tr)
				for range n {
					p, _, err := l.enter(t.Context(), tr, mailbox())
					if err != nil {
						if !strings.Contains(err.Error(), "Message quota used up") {
							t.Fatal(err)
						}
						break
					}
					if reply := p.recipient(t.Context()); reply != nil {
						t.Fatal(reply)
					}
					p.leave(Outcome{Sent: true})
					sent++
				}
				if !stays {
					l.detach(tr)
				} else {
					t.Cleanup(func() { l.detach(tr) })
				}
			}
			if sent > limit || !stays && sent != limit {
				t.Errorf("%d messages of %d", sent, limit)
			}
			if sent <= 3 {
				t.Error("nothing went through the second one")
			}
		})
	}
}

// TestOwnLimitKeepsNoPlace: a message that waits for its account's own limit
// does not hold up another account of the mailbox.
func TestOwnLimitKeepsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, &Upstream{Limits: accounts.Limits{MaxConns: 1}, MaxWait: 2 * time.Minute})
		l := newLedger()
		slow := mailbox()
		slow.Name, slow.Limits = "slow@example.com", &accounts.Limits{Rate: accounts.Rate{Count: 1, Per: time.Minute}}
		send := func(a *accounts.Account) time.Duration {
			p, waited, err := l.enter(t.Context(), tr, a)
			if err != nil {
				t.Error(err)
				return 0
			}
			p.leave(Outcome{Sent: true})
			return waited
		}
		send(slow)
		got := make(chan time.Duration)
		go func() { got <- send(slow) }()
		synctest.Wait()
		if waited := send(mailbox()); waited != 0 {
			t.Errorf("the other account waited %v", waited)
		}
		if waited := <-got; waited != time.Minute {
			t.Errorf("the account with a limit waited %v", waited)
		}
	})
}
