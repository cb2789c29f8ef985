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
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// choosy is a provider that judges each recipient.
type choosy struct {
	relay.Transport
	mu    sync.Mutex
	judge func(rcpt string) *relay.Reply
	got   map[string]int // by recipient
}

func (p *choosy) set(judge func(rcpt string) *relay.Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge = judge
}

func (p *choosy) count(rcpt string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[rcpt]
}

func (p *choosy) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	return &choosyTx{p: p}, nil
}

type choosyTx struct {
	p     *choosy
	rcpts []string
}

func (tx *choosyTx) Rcpt(_ context.Context, to string, _ *smtp.RcptOptions) error {
	tx.p.mu.Lock()
	defer tx.p.mu.Unlock()
	if reply := tx.p.judge(to); reply != nil {
		return reply
	}
	tx.rcpts = append(tx.rcpts, to)
	return nil
}

func (*choosyTx) Abort() {}

func (tx *choosyTx) Data(_ context.Context, r io.Reader) (relay.Reply, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return relay.Reply{}, err
	}
	tx.p.mu.Lock()
	defer tx.p.mu.Unlock()
	for _, rcpt := range tx.rcpts {
		tx.p.got[rcpt]++
	}
	return *relay.ReplyOK, nil
}

var mailboxBusy = &relay.Reply{Code: 450, Enhanced: [3]int{4, 2, 1}, Lines: []string{"Mailbox busy"}}

// sendTo gives a spool a message for these.
func sendTo(t *testing.T, tr *Transport, rcpts ...string) (id string) {
	t.Helper()
	tx, err := tr.Begin(t.Context(), &accounts.Account{Record: accounts.Record{Name: "a"}}, "from@example.com", &smtp.MailOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	for _, to := range rcpts {
		if err := tx.Rcpt(t.Context(), to, &smtp.RcptOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	reply, err := tx.Data(t.Context(), strings.NewReader("text"))
	if err != nil {
		t.Fatal(err)
	}
	return idOf(reply)
}

// TestRestated holds that what a process knows of a message does not end with it where
// the message's file was damaged or replaced meanwhile: nobody gets it twice, and it is
// not held for what is known.
func TestRestated(t *testing.T) {
	for name, spoil := range map[string]func(data []byte, frames []int) []byte{
		"damaged": func(data []byte, frames []int) []byte {
			data[frames[len(frames)-2]+20] ^= 0x55
			return data
		},
		"length": func(data []byte, frames []int) []byte {
			data[frames[len(frames)-2]+1] ^= 0x55
			return data
		},
		"torn": func(data []byte, frames []int) []byte {
			clear(data[frames[len(frames)-1]-30:])
			return data
		},
		"older": func(data []byte, frames []int) []byte {
			clear(data[frames[len(frames)-3]:])
			return data
		},
		"cut": func(data []byte, frames []int) []byte { return data[:frames[len(frames)-2]] },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := newMemFS()
				p := &choosy{got: make(map[string]int)}
				p.set(func(rcpt string) *relay.Reply {
					switch rcpt {
					case "busy@example.org":
						return mailboxBusy
					case "none@example.org":
						return noSuchUser
					}
					return nil
				})
				on := func(tr *Transport) { tr.next = p }
				tr := start(t, fsys, nil, on)
				id := sendTo(t, tr, "good@example.org", "busy@example.org", "none@example.org")
				synctest.Wait()
				fsys.mu.Lock()
				f := fsys.names[tr.engine.store.Path(id, store.MessageExt)]
				f.data = spoil(bytes.Clone(f.data), starts(f.data))
				fsys.mu.Unlock()
				time.Sleep(90 * time.Second) // the next attempt
				synctest.Wait()
				stop(tr)
				p.set(func(string) *relay.Reply { return nil })
				tr = start(t, fsys, nil, on)
				defer stop(tr)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if left := Messages("", ""); len(left) > 0 {
					t.Errorf("kept: %+v", left)
				}
				for rcpt, n := range map[string]int{"good@example.org": 1, "busy@example.org": 1, "none@example.org": 0, "from@example.com": 1} {
					if p.count(rcpt) != n {
						t.Errorf("%s got it %d times, want %d", rcpt, p.count(rcpt), n)
					}
				}
			})
		})
	}
}

// TestRestatedHold holds that a message that is held stays so, and that what another
// hand has written to its journal counts.
func TestRestatedHold(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	on := func(tr *Transport) { tr.AlwaysKeep = false }
	tr := start(t, fsys, p, on)
	if _, err := send(tr, "a", "text"); err != nil {
		t.Fatal(err)
	}
	id := Messages("", "")[0].ID
	if err := Hold(id); err != nil {
		t.Fatal(err)
	}
	f := fsys.names[tr.engine.store.Path(id, store.MessageExt)]
	frames := starts(f.data)
	f.data[frames[len(frames)-2]+20] ^= 0x55
	if err := Hold(id); err != nil {
		t.Fatal(err)
	}
	stop(tr)
	tr = start(t, fsys, p, on)
	if m, err := Get(id); err != nil || m.Why != "held by an operator" {
		t.Errorf("%+v, %v", m, err)
	}
	rec, err := tr.engine.store.OpenJournal(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Append(&record.Line{At: time.Now(), Event: record.EventSent, Sent: []int{0}}); err != nil {
		t.Fatal(err)
	}
	p.set(false)
	if err := Release(id); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	stop(tr)
	if p.count("text") > 0 {
		t.Error("sent again")
	}
}
