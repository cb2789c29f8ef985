// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package upstreampool

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// TestHeldConnection asks transactions whose clients do nothing whether others
// need what they hold.
func TestHeldConnection(t *testing.T) {
	p := newProvider(t)
	u := start(t, testSettings(t, p, func(tr *SMTPTransport) { tr.MaxConnsPerAccount = 1 }))
	begin := func(a *accounts.Account) *transaction {
		tx, err := u.begin(t.Context(), a, "a@b.test", nil)
		if err == nil {
			err = tx.Rcpt(t.Context(), "c@d.test", nil)
		}
		if err != nil {
			t.Error(err)
		}
		return tx
	}
	await := func(tx relay.Holder, want bool) {
		t.Helper()
		for i := 0; tx.Wanted() != want; i++ {
			if i == 10_000 {
				t.Fatalf("wanted is %v for ten seconds, want %v", !want, want)
			}
			time.Sleep(time.Millisecond) // nothing says that another waits
		}
	}
	a := testAccount("a@example.com")
	held := begin(a)
	if held.Wanted() {
		t.Error("nobody waits, and the provider is there")
	}
	second := make(chan *transaction)
	go func() { second <- begin(a) }()
	await(held, true)
	held.Abort()
	tx := <-second
	await(tx, false)
	p.dropAll()
	await(tx, true)
	tx.Abort()
	if tx.Wanted() {
		t.Error("a transaction that is over holds something")
	}
}

// TestHeldConnectionIsReplaced has the provider end a connection, or say on it
// what answers nothing, while the client of a transaction does nothing: between
// two recipients and before the message. What was accepted is said again on a
// new connection, the message arrives once, and a recipient that is refused
// there leaves it undelivered.
func TestHeldConnectionIsReplaced(t *testing.T) {
	ends := map[string]func(s *serverConn){
		"closes":  func(s *serverConn) { _ = s.nc.Close() },
		"goodbye": func(s *serverConn) { _, _ = io.WriteString(s.nc, "421 4.4.2 idle\r\n"); _ = s.nc.Close() },
		"stray":   func(s *serverConn) { _, _ = io.WriteString(s.nc, "250 2.0.0 stray\r\n") },
	}
	large := strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 800)
	for _, without := range []string{"", "PIPELINING", "CHUNKING"} {
		for _, encrypted := range []bool{false, true} {
			for how, end := range ends {
				for _, at := range []string{"recipient", "message", "refused", "twice"} {
					for size, body := range map[string]string{"small": "hello\r\n", "large": large} {
						t.Run(fmt.Sprintf("%s/without=%s/tls=%v/%s/%s", how, without, encrypted, at, size), func(t *testing.T) {
							t.Parallel()
							testHeldReplaced(t, without, encrypted, end, at, body)
						})
					}
				}
			}
		}
	}
}

func testHeldReplaced(t *testing.T, without string, encrypted bool, end func(*serverConn), at, body string) {
	var conn atomic.Pointer[serverConn]
	p, s := newTLSProvider(t, encrypted, func(p *provider) {
		p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(c string) bool { return c == without })
		p.hook = func(s *serverConn, line string) string {
			if strings.HasPrefix(line, "RCPT") {
				conn.Store(s)
				if s.n == 2 && at == "refused" {
					return "550 5.1.1 no longer"
				}
			}
			return ""
		}
	})
	u := start(t, s)
	tx, err := u.begin(t.Context(), testAccount("a@a.test"), "a@b.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	idle := func() {
		held := conn.Load()
		end(held)
		for tx.c.Silent() {
			time.Sleep(time.Millisecond) // the kernel's pace
		}
	}
	for i, to := range []string{"one@b.test", "two@b.test"} {
		if err := tx.Rcpt(t.Context(), to, nil); err != nil {
			t.Fatal(err)
		}
		if i == 0 && (at == "recipient" || at == "twice") {
			idle()
		}
	}
	if at != "recipient" {
		idle()
	}
	_, err = tx.Data(t.Context(), strings.NewReader(body))
	list := p.got()
	if at == "refused" || at == "twice" {
		r, ok := errors.AsType[*relay.Reply](err)
		if !ok || r.Code/100 != 4 || len(list) != 0 {
			t.Errorf("outcome %v, %d messages: want a passing failure", err, len(list))
		}
		return
	}
	if err != nil || len(list) != 1 || list[0].body != body || strings.Join(list[0].to, " ") != "RCPT TO:<one@b.test> RCPT TO:<two@b.test>" {
		t.Errorf("outcome %v, %d messages: want one to both", err, len(list))
	}
	if n := p.dialed(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// watchedBody is a client's body that is told what is held while it is read, and
// stops where a read would find nothing of the rest.
type watchedBody struct {
	io.Reader
	h    relay.Holder
	rest func(h relay.Holder) error // called where the beginning ends
}

func (b *watchedBody) Watch(h relay.Holder) { b.h = h }

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) && b.rest != nil {
		return n, b.rest(b.h)
	}
	return n, err
}

// TestHeldInOneFlight sends a message in one flight whose body is read on when the
// connection is taken: the body is told, so that it can end a client that makes
// others wait. A small one is told nothing, since it took no connection yet.
func TestHeldInOneFlight(t *testing.T) {
	for _, lacks := range []string{"", "8BITMIME", "CHUNKING", "PIPELINING"} {
		t.Run("without="+lacks, func(t *testing.T) {
			p := newProvider(t, func(p *provider) {
				p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(c string) bool { return c == lacks })
			})
			u := start(t, testSettings(t, p, func(tr *SMTPTransport) { tr.MaxConnsPerAccount = 1 }))
			a := testAccount("a@example.com")
			send := func(body io.Reader) error {
				_, _, err := u.send(t.Context(), a, "a@b.test", &smtp.MailOptions{Body: smtp.Body8BitMIME}, relay.Recipient{To: "c@d.test"}, body)
				return err
			}
			small := &watchedBody{Reader: strings.NewReader("hello\r\n")}
			if err := send(small); err != nil || small.h != nil {
				t.Errorf("a small message: %v, told of %v", err, small.h)
			}
			second := make(chan error, 1)
			stalled := errors.New("stalled")
			large := &watchedBody{Reader: strings.NewReader(strings.Repeat(strings.Repeat("x", 78)+"\r\n", 4000))}
			large.rest = func(h relay.Holder) error {
				if h == nil {
					return errors.New("nobody said what is held")
				}
				if h.Wanted() {
					t.Error("nobody waits")
				}
				go func() { second <- send(strings.NewReader("hello\r\n")) }()
				for !h.Wanted() {
					time.Sleep(time.Millisecond) // nothing says that another waits
				}
				return stalled
			}
			if err := send(large); !errors.Is(err, stalled) {
				t.Fatal(err)
			}
			if err := <-second; err != nil {
				t.Error(err)
			}
			if large.h.Wanted() {
				t.Error("a message that is over holds something")
			}
			if n := p.holds("hello\r\n"); n != 2 {
				t.Errorf("%d messages, want 2", n)
			}
		})
	}
}
