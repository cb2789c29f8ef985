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
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// TestIDs holds that ids have the order in which they were made, however fast.
func TestIDs(t *testing.T) {
	now, last := time.Now(), ""
	for range 10_000 {
		id := store.NewID(now)
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
}

// busyProvider refuses with the same words until a time.
type busyProvider struct {
	*provider
	reply *relay.Reply
	until time.Time
	tries atomic.Int32
}

func (p *busyProvider) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	p.tries.Add(1)
	if time.Now().Before(p.until) {
		return nil, p.reply
	}
	return p.provider.Begin(ctx, a, from, opts)
}

// TestDrain holds that a spool that is drained keeps nothing new, tries at once
// what it has, and keeps again when the drain has ended.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.down = true
		tr := start(t, newMemFS(), p, func(tr *Transport) { tr.AlwaysKeep = false })
		defer stop(tr)
		for _, account := range []string{"a", "a", "b"} {
			if _, err := send(tr, account, "text"); err != nil {
				t.Fatal(err)
			}
		}
		if err := Drain("kept", false); err != nil {
			t.Fatal(err)
		}
		if _, err := send(tr, "a", "one more"); !errors.Is(err, relay.ReplyUpstreamDown) {
			t.Errorf("a message while the spool is drained: %v, want the provider's own word", err)
		}
		if st := tr.engine.status(); st.Draining == nil || st.Messages != 3 {
			t.Errorf("status %+v", st)
		}
		synctest.Wait()
		if n := Messages("a", "")[0].Attempts; n != 1 {
			t.Errorf("%d attempts at once, want 1", n)
		}
		p.set(false)
		// A drain that is asked for again goes on, and hastens nothing again.
		if err := Drain("", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if left := Messages("", ""); len(left) > 0 || p.count("text") != 3 {
			t.Errorf("%d messages are left, %d arrived", len(left), p.count("text"))
		}
		EndDrain()
		p.set(true)
		if _, err := send(tr, "a", "later"); err != nil {
			t.Errorf("after the drain: %v", err)
		}
		if err := Drain("none", false); !errors.Is(err, ErrNoSpool) {
			t.Errorf("an unknown spool: %v", err)
		}
		if err := Drain("", true); !errors.Is(err, ErrNoPeer) {
			t.Errorf("without a peer: %v", err)
		}
	})
}

// TestDrainHonoursProvider holds that an operator's haste does not break what the
// provider asked for, nor a restart.
func TestDrainHonoursProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, asked := newMemFS(), *relay.ReplyUpstreamDown
		asked.After = 40 * time.Minute
		p := &busyProvider{provider: newProvider(), reply: &asked, until: time.Now().Add(asked.After)}
		options := func(tr *Transport) { tr.AlwaysKeep, tr.next = false, p }
		tr := start(t, fsys, p.provider, options)
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		stop(tr)
		tr = start(t, fsys, p.provider, options)
		defer stop(tr)
		if err := Drain("", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(39 * time.Minute)
		synctest.Wait()
		if n := p.tries.Load(); n != 1 {
			t.Errorf("%d attempts before the provider's time, want the first alone", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.count("text") != 1 {
			t.Error("not sent at the provider's time")
		}
	})
}

// doubtfulPeer refuses, dies, and takes, by what the message says.
type doubtfulPeer struct {
	relay.Transport
	got   []string
	tries map[string]int
}

func (p *doubtfulPeer) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	return &doubtfulTx{p}, nil
}

type doubtfulTx struct{ p *doubtfulPeer }

func (*doubtfulTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return nil }
func (*doubtfulTx) Abort()                                                {}

func (tx *doubtfulTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return relay.Reply{}, err
	}
	_, text, _ := strings.Cut(string(b), "\r\n\t")
	_, text, _ = strings.Cut(text, "\r\n")
	tx.p.tries[text]++
	if text == "refused" && tx.p.tries[text] < 3 {
		return relay.Reply{}, relay.ReplySenderRefused
	}
	tx.p.got = append(tx.p.got, text)
	return *relay.ReplyOK, nil
}

// TestHandOver holds that what a peer takes is gone from here, and that what it
// refuses, for good even, is not lost: it is no provider.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		peer := &doubtfulPeer{tries: make(map[string]int)}
		tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep, tr.Peer, tr.peer = false, "standby", peer })
		defer stop(tr)
		for _, text := range []string{"first", "refused", "last"} {
			if _, err := send(tr, "a", text); err != nil {
				t.Fatal(err)
			}
		}
		if err := Drain("", true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := Messages("", ""); len(left) != 2 || left[0].Recipients[0].State != "waiting" || !strings.Contains(left[0].Reply, relay.ReplySenderRefused.Error()) {
			t.Errorf("after the peer's refusal: %+v", left)
		}
		time.Sleep(2*handOverPause + time.Second)
		synctest.Wait()
		if left := Messages("", ""); len(left) != 0 || strings.Join(peer.got, " ") != "first refused last" {
			t.Errorf("%d are left, the peer has %q", len(left), peer.got)
		}
		if res := tr.engine.status().Results; res["handed_over"] != 3 || res["refused"] != 0 || p.count("first") != 0 {
			t.Errorf("results %v", res)
		}
	})
}

// resultAt is a temporary refusal as a journal has it.
func resultAt(at, next, asked time.Time) *record.Line {
	return &record.Line{At: at, Event: record.EventResult, Next: next, Asked: asked}
}
