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
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// crowded is a provider that knows how many messages are with it at a time.
type crowded struct {
	*provider
	now, most atomic.Int32
}

func (c *crowded) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	tx, err := c.provider.Begin(ctx, a, from, opts)
	return &crowdedTx{tx, c}, err
}

type crowdedTx struct {
	relay.Transaction
	c *crowded
}

func (tx *crowdedTx) Data(ctx context.Context, r io.Reader) (relay.Reply, error) {
	n := tx.c.now.Add(1)
	defer tx.c.now.Add(-1)
	for most := tx.c.most.Load(); n > most && !tx.c.most.CompareAndSwap(most, n); most = tx.c.most.Load() {
	}
	for range 1000 {
		runtime.Gosched() // the others come in, if they may
	}
	return tx.Transaction.Data(ctx, r)
}

// TestSuspects holds that messages that were under way when the process died are
// tried one by one: what was only beside a poisonous one is not held for it.
func TestSuspects(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
	const n = 6
	for i := range n {
		if _, err := send(tr, fmt.Sprint("account", i), fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	list := Messages("", "")
	stop(tr)
	for _, m := range list {
		rec, err := tr.engine.store.OpenJournal(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		// Twice: the third time, all would be held.
		for range poisonous - 1 {
			if err := rec.Append(&record.Line{At: time.Now(), Event: record.EventTry, Next: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.set(false)
	c := &crowded{provider: p}
	tr = start(t, fsys, p, func(tr *Transport) { tr.next = c })
	defer stop(tr)
	await(t, tr)
	if most := c.most.Load(); most != 1 {
		t.Errorf("%d suspects were tried at a time", most)
	}
	for i := range n {
		if got := p.count(fmt.Sprint("message ", i)); got != 1 {
			t.Errorf("message %d came %d times", i, got)
		}
	}
}

// TestKeyComesBack holds that messages whose key is gone are taken up by the
// reload that has it again.
func TestKeyComesBack(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	keyed := func(tr *Transport) {
		tr.AlwaysKeep, tr.EncryptionKeys = false, []string{fmt.Sprintf("%064x", 5)}
	}
	tr := start(t, fsys, p, keyed)
	if _, err := send(tr, "a", "text"); err != nil {
		t.Fatal(err)
	}
	stop(tr)
	without := start(t, fsys, p, nil)
	if st := without.engine.status(); st.Messages != 0 || len(st.LeftAlone) != 1 {
		t.Fatalf("without the key: %+v", st)
	}
	with := start(t, fsys, p, keyed)
	defer stop(with)
	_ = without.Detach()
	if st := with.engine.status(); st.Messages != 1 || len(st.LeftAlone) != 0 || st.Octets != 4 {
		t.Errorf("with the key again: %+v", st)
	}
}

// TestFileGone holds that a message whose file an operator removed is forgotten,
// with what it counted.
func TestFileGone(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep, tr.MaxMessages = false, 1 })
	defer stop(tr)
	if _, err := send(tr, "a", "text"); err != nil {
		t.Fatal(err)
	}
	id := Messages("", "")[0].ID
	if err := fsys.Remove(tr.engine.store.Path(id, store.MessageExt)); err != nil {
		t.Fatal(err)
	}
	makeDue(tr.engine, id)
	await(t, tr)
	if _, err := send(tr, "a", "another"); err != nil {
		t.Errorf("the bound counts what is gone: %v", err)
	}
}

// TestJournalSyncFails holds that a sync of the journal that failed is not
// believed again either, a full disk's neither.
func TestJournalSyncFails(t *testing.T) {
	for _, cause := range []error{fmt.Errorf("input/output error"), errNoSpace} {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		p.set(false)
		fsys.mu.Lock()
		fsys.before = func(op string) error {
			if op == "sync" {
				return cause
			}
			return nil
		}
		fsys.mu.Unlock()
		if err := Release(Messages("", "")[0].ID); err == nil {
			t.Error("released, though it could not be noted")
		}
		if tr.engine.status().Error == "" {
			t.Errorf("a journal's sync failed (%v), and the spool goes on", cause)
		}
		stop(tr)
	}
}

// makeDue has a message be looked at now.
func makeDue(e *engine, id string) {
	e.mu.Lock()
	m := e.all[id]
	m.next = time.Now()
	e.arrange(m, m.next)
	e.mu.Unlock()
	e.wake()
}
