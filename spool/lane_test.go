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
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// slow is a provider that takes a second for each message.
type slow struct{ *provider }

func (p *slow) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	tx, err := p.provider.Begin(ctx, a, from, opts)
	return &slowTx{tx}, err
}

type slowTx struct{ relay.Transaction }

func (tx *slowTx) Data(ctx context.Context, r io.Reader) (relay.Reply, error) {
	time.Sleep(time.Second)
	return tx.Transaction.Data(ctx, r)
}

// TestFairness holds that accounts with much mail do not keep the others from a
// place among those that are sent for.
func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.down = true
		tr := start(t, newMemFS(), p, func(tr *Transport) { tr.AlwaysKeep, tr.next = false, &slow{p} })
		defer stop(tr)
		const busy, each, small = 10, 100, 6
		for i := range busy {
			for n := range each {
				if _, err := send(tr, fmt.Sprint("busy", i), fmt.Sprintf("busy%d %d", i, n)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range small {
			if _, err := send(tr, fmt.Sprint("small", i), fmt.Sprint("small", i)); err != nil {
				t.Fatal(err)
			}
		}
		p.set(false)
		if err := Drain("", false); err != nil {
			t.Fatal(err)
		}
		// Every account has its turn among 16 in two seconds or three.
		time.Sleep(5 * time.Second)
		synctest.Wait()
		p.mu.Lock()
		sent := strings.Join(p.order, ",")
		n := len(p.order)
		p.mu.Unlock()
		for i := range small {
			if !strings.Contains(sent, fmt.Sprint("small", i)) {
				t.Errorf("account small%d had no turn among %d messages", i, n)
			}
		}
		for i := range busy {
			if !strings.Contains(sent, fmt.Sprintf("busy%d 0", i)) {
				t.Errorf("account busy%d had no turn among %d messages", i, n)
			}
		}
		if n < 4*maxAttempts {
			t.Errorf("%d messages in 5 seconds: places stay empty", n)
		}
	})
}

// oneFlight is an upstream that sends in one flight, and remembers how long it may
// wait.
type oneFlight struct {
	*provider
	wait time.Duration
}

func (p *oneFlight) Send(ctx context.Context, _ *accounts.Account, _ string, _ *smtp.MailOptions, _ relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	p.wait = relay.MaxWait(ctx, time.Hour)
	_, err := io.Copy(io.Discard, body)
	return *relay.ReplyOK, relay.Info{}, err
}

// TestMaxWait holds that max_wait is in force where a message goes in one flight,
// and bounds the wait alone.
func TestMaxWait(t *testing.T) {
	p := &oneFlight{provider: newProvider()}
	tr := start(t, newMemFS(), p.provider, func(tr *Transport) {
		tr.AlwaysKeep, tr.next, tr.MaxWait = false, p, caddy.Duration(3*time.Second)
	})
	defer stop(tr)
	_, _, err := tr.Send(t.Context(), &accounts.Account{Record: accounts.Record{Name: "a"}}, "from@example.com", nil, relay.Recipient{To: "to@example.org"}, strings.NewReader("text"))
	if err != nil || p.wait != 3*time.Second {
		t.Errorf("the upstream may wait %v: %v", p.wait, err)
	}
}

// TestDeleteWhileDrained holds that what a drain leaves, held messages, can be
// deleted in it, on a full disk too, and counts no longer.
func TestDeleteWhileDrained(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
	defer stop(tr)
	reply, err := send(tr, "a", "text")
	if err != nil {
		t.Fatal(err)
	}
	if err := Hold(idOf(reply)); err != nil {
		t.Fatal(err)
	}
	if err := Drain("", false); err != nil {
		t.Fatal(err)
	}
	fsys.mu.Lock()
	fsys.before = func(op string) error {
		if op == "write" {
			return errNoSpace
		}
		return nil
	}
	fsys.mu.Unlock()
	if err := Delete(idOf(reply)); err != nil {
		t.Fatal(err)
	}
	if st := tr.engine.status(); st.Messages != 0 || st.Held != 0 || st.Results["deleted"] != 1 || len(fsys.files("")) > 0 {
		t.Errorf("status %+v, files %v", st, fsys.files(""))
	}
}
