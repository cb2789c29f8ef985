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

package mailing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
)

// provider is what takes the mails, in place of a gateway.
type provider struct {
	mu       sync.Mutex
	links    map[string]bool // that are good
	sent     map[string]int
	waits    []time.Duration
	answer   func(to string, attempt int) error
	attempts map[string]int
	last     []byte
}

func newProvider() *provider {
	return &provider{links: make(map[string]bool), sent: make(map[string]int), attempts: make(map[string]int), answer: func(string, int) error { return nil }}
}

func (p *provider) runner(storage certmagic.Storage) Runner {
	return Runner{
		Orders: Orders{storage}, Logger: zap.NewNop(),
		Invite: func(_ context.Context, r connect.Request) (connect.Invited, error) {
			if strings.HasPrefix(r.Account, "gone") {
				return connect.Invited{}, accounts.ErrNotFound
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			id := fmt.Sprintf("%064d", len(p.links))
			p.links[id] = true
			return connect.Invited{Invitation: connect.Invitation{ID: id, Account: r.Account, Mailbox: r.Account, Delegate: r.Delegate, InvitedBy: r.InvitedBy}, Link: "https://gw.example/i/" + id}, nil
		},
		Revoke: func(_ context.Context, id string) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.links, id)
			return nil
		},
		Send: func(_ context.Context, _, to string, message func(string) []byte) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.attempts[to]++
			if err := p.answer(to, p.attempts[to]); err != nil {
				return err
			}
			p.sent[to]++
			p.last = message("it@example.com")
			return nil
		},
		Wait: func(_ context.Context, d time.Duration) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.waits = append(p.waits, d)
		},
	}
}

func rowsOf(n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i].Account = fmt.Sprintf("user%d@example.com", i)
	}
	return rows
}

func add(t testing.TB, s Orders, rows []Row) Order {
	t.Helper()
	o, err := s.Add(t.Context(), Order{By: "op", Account: "it@example.com", Gateway: "Example", PerMinute: 30}, rows)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func state(t testing.TB, s Orders, id string) Status {
	t.Helper()
	st, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestRows sends to all; what concerns one row is told of that row, what concerns the
// account is waited for.
func TestRows(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	rows := rowsOf(250)
	rows[3].Account, rows[7].To, rows[9].Delegate = "gone@example.com", "other@example.com", "boss@example.com"
	refused := func(stage operate.MailStage, to string, code int) error {
		return &operate.MailError{Stage: stage, To: to, Err: &relay.Reply{Code: code, Lines: []string{"no"}}}
	}
	p.answer = func(to string, attempt int) error {
		switch {
		case to == "user5@example.com":
			return refused(operate.MailRecipient, to, 550)
		case to == "user6@example.com":
			return refused(operate.MailRecipient, to, 451)
		case to == "user20@example.com" && attempt < 4:
			return refused(operate.MailBegins, to, 451)
		case to == "user21@example.com" && attempt < 2:
			return errors.New("the account is paused")
		case strings.HasPrefix(to, "user1") && len(to) == len("user123@example.com"):
			return refused(operate.MailContent, to, 554)
		}
		return nil
	}
	o := add(t, r.Orders, rows)
	if err := r.work(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	st := state(t, r.Orders, o.ID)
	if !st.Done || st.Sent+st.Failed != 250 || st.Failed != 103 || st.Waiting != "" {
		t.Errorf("%+v", st)
	}
	for to, n := range p.sent {
		if n != 1 {
			t.Errorf("%s got %d mails", to, n)
		}
	}
	if p.sent["other@example.com"] != 1 || p.sent["boss@example.com"] != 1 || p.sent["user7@example.com"]+p.sent["user9@example.com"] != 0 {
		t.Error("a mail went to another than it was for")
	}
	if len(p.links) != st.Sent {
		t.Errorf("%d links are good, and %d were sent", len(p.links), st.Sent)
	}
	list, err := r.Failures(t.Context(), o.ID, 95, 50)
	if err != nil || len(list) != 8 {
		t.Errorf("%d failures from 95 on (%v), want 8", len(list), err)
	}
	if list, _ = r.Failures(t.Context(), o.ID, 0, 2); len(list) != 2 || list[0] != (Failure{Row: 3, Account: "gone@example.com", Why: accounts.ErrNotFound.Error()}) || list[1].Row != 5 || !strings.Contains(list[1].Why, "550") {
		t.Errorf("%+v", list)
	}
	// The pace of 30 a minute between rows, growing pauses for the account.
	pauses := 0
	for _, d := range p.waits {
		if d != 2*time.Second {
			pauses++
		}
	}
	if pauses != 4 || len(p.waits) != 249+4 {
		t.Errorf("%d pauses among %d waits", pauses, len(p.waits))
	}
	// Those that failed, again: what was refused goes through now.
	p.answer = func(string, int) error { return nil }
	again, err := r.AddFailed(t.Context(), o.ID, "op2")
	if err != nil || again.Total != 103 || again.By != "op2" {
		t.Fatalf("%+v %v", again, err)
	}
	if err := r.work(t.Context(), again.ID); err != nil {
		t.Fatal(err)
	}
	if st := state(t, r.Orders, again.ID); st.Sent != 102 || st.Failed != 1 {
		t.Errorf("%+v", st)
	}
	// No link is in the storage.
	err = filepath.WalkDir(storage.Path, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "gw.example") {
			t.Errorf("%s has a link", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestGoesOn stops an order at many places, as a pause does; each owner gets one mail.
func TestGoesOn(t *testing.T) {
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	o := add(t, r.Orders, rowsOf(40))
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		r.Wait = func(context.Context, time.Duration) {
			if n++; n == 3 {
				cancel()
			}
		}
		if err := r.work(ctx, o.ID); err != nil {
			t.Fatal(err)
		}
		cancel()
		if state(t, r.Orders, o.ID).Done {
			break
		}
	}
	if st := state(t, r.Orders, o.ID); !st.Done || st.Sent != 40 || len(p.sent) != 40 {
		t.Fatalf("%+v, %d owners have a mail", st, len(p.sent))
	}
	for to, n := range p.sent {
		if n != 1 {
			t.Errorf("%s got %d mails after pauses", to, n)
		}
	}
}

func TestRefused(t *testing.T) {
	s := Orders{&certmagic.FileStorage{Path: t.TempDir()}}
	good := Order{By: "op", Account: "a@example.com", PerMinute: 1}
	for name, c := range map[string]struct {
		o    Order
		rows []Row
	}{
		"no row":         {good, nil},
		"too many":       {good, rowsOf(MaxRows + 1)},
		"no account":     {Order{PerMinute: 1}, rowsOf(1)},
		"no pace":        {Order{Account: "a"}, rowsOf(1)},
		"a line end":     {good, []Row{{To: "a@example.com\r\nBcc: b@example.com"}}},
		"a name with it": {good, []Row{{To: "A <a@example.com>"}}},
	} {
		if _, err := s.Add(t.Context(), c.o, c.rows); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, id := range []string{"", "..", "../invitations", strings.Repeat("a", 26), strings.Repeat("A", 25) + "/"} {
		if _, err := s.Get(t.Context(), id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	for range 3 * keptOrders {
		o, err := s.Add(t.Context(), good, rowsOf(1))
		if err == nil {
			err = s.store(t.Context(), o.ID, "state.json", State{Done: true})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != keptOrders {
		t.Errorf("%d orders are kept (%v)", len(list), err)
	}
}

func TestMessage(t *testing.T) {
	i := &connect.Invited{Invitation: connect.Invitation{Mailbox: "a@example.com", InvitedBy: "IT\r\nBcc: x@example.com <b>"}, Link: "https://gw.example/connect/i/" + strings.Repeat("x", 43)}
	m := string(message("it@example.com", "a@example.com", "Bücher\r\nX: y", i, time.Now()))
	head, body, ok := strings.Cut(m, "\r\n\r\n")
	if !ok || strings.Contains(head, "\r\nX:") || strings.Contains(head, "Bcc") || strings.Contains(strings.ReplaceAll(m, "\r\n", ""), "\n") {
		t.Errorf("%q", m)
	}
	for line := range strings.SplitSeq(m, "\r\n") {
		if len(line) > 200 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	if err != nil || !strings.Contains(string(text), i.Link+"\r\n") || !strings.Contains(string(text), "sign in as a@example.com") || strings.Contains(string(text), "\r\nBcc") {
		t.Errorf("%q %v", text, err)
	}
}

// TestTenThousand is an hour's worth and more: MAILGATEWAY_INVITATIONS=10000, else a
// short one. Memory is bounded whatever the number.
func TestTenThousand(t *testing.T) {
	n := 1000
	if text := os.Getenv("MAILGATEWAY_INVITATIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	p, storage := newProvider(), &certmagic.FileStorage{Path: t.TempDir()}
	r := p.runner(storage)
	r.Wait = func(context.Context, time.Duration) {}
	var most uint64
	p.answer = func(to string, attempt int) error {
		if attempt == 1 && len(p.sent)%500 == 499 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		if strings.HasSuffix(to, "7@example.com") {
			return &operate.MailError{Stage: operate.MailRecipient, To: to, Err: &relay.Reply{Code: 550, Lines: []string{"5.1.1 no"}}}
		}
		return nil
	}
	began := time.Now()
	o := add(t, r.Orders, rowsOf(n))
	if err := r.work(t.Context(), o.ID); err != nil {
		t.Fatal(err)
	}
	if st := state(t, r.Orders, o.ID); !st.Done || st.Sent != n*9/10 || st.Failed != n/10 {
		t.Errorf("%+v", st)
	}
	t.Logf("%d invitations in %s, at most %d KiB of heap", n, time.Since(began).Round(time.Millisecond), most>>10)
	if most > 64<<20 {
		t.Errorf("%d MiB of heap", most>>20)
	}
}
