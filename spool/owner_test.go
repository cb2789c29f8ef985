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
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// TestOwner holds that mail does not leave as another mailbox because its account's
// name was given to one, nor a report about it, before or after a restart; an
// operator may let it go.
func TestOwner(t *testing.T) {
	for name, refuse := range map[string]bool{"message": false, "report": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mailbox atomic.Value
				mailbox.Store("old@example.com")
				account := func(name string) (*accounts.Account, bool) {
					return &accounts.Account{Record: accounts.Record{Name: name, Mailbox: mailbox.Load().(string)}}, true
				}
				fsys, p := newMemFS(), newProvider()
				p.down = true
				on := func(tr *Transport) { tr.AlwaysKeep = false }
				tr := start(t, fsys, p, on)
				tr.UseAccounts(account)
				a, _ := account("a")
				tx, err := tr.Begin(t.Context(), a, "from@example.com", &smtp.MailOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := tx.Rcpt(t.Context(), "to@example.org", nil); err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Data(t.Context(), strings.NewReader("text")); err != nil {
					t.Fatal(err)
				}
				if refuse {
					// The message is refused for good, and its report cannot leave yet.
					p.set(false)
					p.setJudge(func(text string) *relay.Reply {
						if text == "text" {
							return noSuchUser
						}
						return relay.ReplyUpstreamDown
					})
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					if left := Messages("", ""); len(left) != 1 || !left[0].Report {
						t.Fatalf("kept: %+v", left)
					}
				}
				mailbox.Store("Old@example.com") // the same
				p.setJudge(nil)
				p.set(true)
				time.Sleep(5 * time.Minute)
				mailbox.Store("new@example.com")
				p.set(false)
				for range 2 {
					time.Sleep(3 * time.Hour)
					synctest.Wait()
					left := Messages("", "")
					if len(left) != 1 || left[0].State != "held" || !strings.Contains(left[0].Why, "'old@example.com'") || !strings.Contains(left[0].Why, "'new@example.com'") || len(p.order) > 0 {
						t.Fatalf("with the name another's: %+v, sent %q", left, p.order)
					}
					stop(tr)
					tr = start(t, fsys, p, on)
					tr.UseAccounts(account)
				}
				defer stop(tr)
				if err := Release(Messages("", "")[0].ID); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if left := Messages("", ""); len(left) > 0 || len(p.order) != 1 {
					t.Errorf("released: %+v, sent %q", left, p.order)
				}
			})
		})
	}
}

// TestOwnerNotNoted holds that mail which was kept when files did not say whose it is
// leaves if its sender, a report's, or its account's name is the mailbox, and is held
// otherwise, until an operator lets it go.
func TestOwnerNotNoted(t *testing.T) {
	for name, tc := range map[string]struct {
		env  record.Envelope
		goes bool
	}{
		"sender":       {record.Envelope{Account: "a", From: "Box@example.com"}, true},
		"another's":    {record.Envelope{Account: "a", From: "old@example.com"}, false},
		"null sender":  {record.Envelope{Account: "a"}, false},
		"report":       {record.Envelope{Account: "a", Report: true, Fallback: "box@example.com"}, true},
		"old report":   {record.Envelope{Account: "a", Report: true, Fallback: "old@example.com"}, false},
		"account name": {record.Envelope{Account: "box@example.com", From: "alias@example.com"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, p := newMemFS(), newProvider()
			tr := start(t, fsys, p, nil)
			env := &tc.env
			env.ID, env.Created, env.Rcpts = store.NewID(time.Now()), time.Now(), []relay.Recipient{{To: "to@example.org"}}
			k := store.NewKeeper(tr.engine.store, env, strings.NewReader("text"))
			if err := errors.Join(k.Rest(), k.Commit()); err != nil {
				t.Fatal(err)
			}
			stop(tr)
			tr = &Transport{Upstream: "p", Directory: "/spool/" + t.Name(), Hostname: "here", fs: fsys, next: p, logger: zap.NewNop(), MinFree: -1}
			if err := tr.Bind("kept"); err != nil {
				t.Fatal(err)
			}
			tr.UseAccounts(func(name string) (*accounts.Account, bool) {
				return &accounts.Account{Record: accounts.Record{Name: name, Mailbox: "box@example.com"}}, true
			})
			if err := tr.Attach(); err != nil {
				t.Fatal(err)
			}
			defer stop(tr)
			if !tc.goes {
				for tr.engine.status().Held == 0 && tr.engine.status().Messages > 0 {
					time.Sleep(time.Millisecond)
				}
				if m, err := Get(env.ID); err != nil || !strings.Contains(m.Why, "'box@example.com'") || p.count("text") > 0 {
					t.Fatalf("sent %d times: %+v, %v", p.count("text"), m, err)
				}
				// Between the line and the end of the turn it is busy.
				for err := ErrBusy; errors.Is(err, ErrBusy); err = Release(env.ID) {
				}
			}
			await(t, tr)
			if p.count("text") != 1 {
				t.Errorf("sent %d times", p.count("text"))
			}
		})
	}
}

// TestAllWords holds that a report has all that the provider said, and that a report
// to an address that is not ASCII needs SMTPUTF8.
func TestAllWords(t *testing.T) {
	reply := &relay.Reply{Code: 550, Enhanced: [3]int{5, 7, 26}, Lines: []string{
		"5.7.26 Your email has been blocked because the sender is unauthenticated.", "5.7.26 Gmail requires all senders to authenticate", "5.7.26 with either SPF or DKIM. See https://support.example.com/mail#x",
	}}
	for to, ascii := range map[string]bool{"it@example.com": true, "it@b\u00fccher.example": false} {
		fsys := newMemFS()
		p := &recorder{provider: newProvider()}
		p.judge = func(text string) *relay.Reply {
			if text == "text" {
				return reply
			}
			return nil
		}
		tr := start(t, fsys, p.provider, func(tr *Transport) { tr.next, tr.Reports = p, to })
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		await(t, tr)
		stop(tr)
		if len(p.order) != 1 {
			t.Fatalf("sent: %q", p.order)
		}
		unfolded := strings.NewReplacer("\r\n ", " ", "=\r\n", "").Replace(p.order[0])
		want := "550 5.7.26 Your email has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM. See https://support.example.com/mail#x"
		if !strings.Contains(unfolded, "Diagnostic-Code: smtp; "+want+"\r\n") || !strings.Contains(unfolded, "Status: 5.7.26\r\n") {
			t.Errorf("the report lacks the provider's words:\n%s", p.order[0])
		}
		if opts := p.last.Load(); opts.UTF8 == ascii || strings.Contains(p.order[0], "message/global-delivery-status") == ascii {
			t.Errorf("the report to %s left with %+v:\n%s", to, *opts, p.order[0])
		}
	}
}

// TestWords holds what is kept of replies.
func TestWords(t *testing.T) {
	for want, r := range map[string]*relay.Reply{
		"550 5.1.1 No such user":     noSuchUser,
		"550":                        {Code: 550},
		"421 no code":                {Code: 421, Lines: []string{"no code"}},
		"550 5.7.1 first 5.7.10 x y": {Code: 550, Enhanced: [3]int{5, 7, 1}, Lines: []string{"first", "5.7.10 x", "5.7.1 y"}},
		"451 4.7.1":                  {Code: 451, Enhanced: [3]int{4, 7, 1}, Lines: []string{"4.7.1", ""}},
	} {
		if got := record.Words(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	long := record.Words(&relay.Reply{Code: 550, Lines: []string{strings.Repeat("\u00e9", 4000)}})
	if len(long) > record.MaxWords+3 || !strings.HasSuffix(long, "\u00e9...") {
		t.Errorf("%d octets are kept, ending in %q", len(long), long[len(long)-10:])
	}
}
