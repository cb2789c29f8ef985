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

package graph

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// limited is a transport of which only the limits are used.
func limited(t *testing.T, cfg Transport) *Transport {
	t.Helper()
	if err := cfg.fill(); err != nil {
		t.Fatal(err)
	}
	cfg.name = t.Name()
	return &cfg
}

func enter(t *testing.T, tr *Transport) (*place, error) {
	t.Helper()
	p, _, err := newLedger().enter(t.Context(), tr, mailbox())
	return p, err
}

// TestFourAtATime holds that a fifth message waits, and that a request without
// a clear answer keeps its place for a minute.
func TestFourAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, Transport{MaxWait: caddy.Duration(10 * time.Minute)})
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
		places[0].leave(outcome{sent: true})
		if waited := <-got; waited != time.Second {
			t.Errorf("the fifth waited %v", waited)
		}
		places[1].leave(outcome{unknown: true})
		if waited := <-got; waited != time.Second+lingering {
			t.Errorf("the sixth waited %v", waited)
		}
	})
}

// TestRate holds that what was not sent does not count, and that what was waits
// for its turn or is refused with the time.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, Transport{RatePerAccount: accounts.Rate{Count: 2, Per: time.Minute}, MaxWait: caddy.Duration(30 * time.Second)})
		l := newLedger()
		try := func(out outcome) (time.Duration, error) {
			p, waited, err := l.enter(t.Context(), tr, mailbox())
			if err == nil {
				p.leave(out)
			}
			return waited, err
		}
		for _, out := range []outcome{{}, {sent: true}, {}, {unknown: true}} {
			if waited, err := try(out); err != nil || waited != 0 {
				t.Fatal(waited, err)
			}
		}
		if _, err := try(outcome{sent: true}); err == nil || err.Error() != "451 4.7.1 Message limit 2/1m used up, next slot in 60 s" {
			t.Errorf("%v", err)
		}
		time.Sleep(40 * time.Second)
		if waited, err := try(outcome{sent: true}); err != nil || waited != 20*time.Second {
			t.Errorf("waited %v, %v", waited, err)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, Transport{MaxWait: caddy.Duration(time.Second)})
		l := newLedger()
		p, _, err := l.enter(t.Context(), tr, mailbox())
		if err != nil {
			t.Fatal(err)
		}
		p.leave(outcome{hold: time.Minute})
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
	tr := limited(t, Transport{RecipientsPerAccount: accounts.Rate{Count: 2, Per: time.Hour}})
	p, err := enter(t, tr)
	if err != nil {
		t.Fatal(err)
	}
	for i, full := range []bool{false, false, true} {
		if reply := p.recipient(); (reply != nil) != full {
			t.Errorf("recipient %d: %v", i, reply)
		}
	}
	p.leave(outcome{})
	if n := len(p.b.log); n != 0 {
		t.Errorf("%d messages count that were not sent", n)
	}
}

// TestGivenUp holds that a client that goes leaves no place behind.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := limited(t, Transport{MaxConnsPerAccount: 1})
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
