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

package choice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// TestClosings holds which words of a provider close a way: those that no credentials
// help against, for the mailbox or for its tenant, and none that pass.
func TestClosings(t *testing.T) {
	for said, want := range map[string]bool{
		"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information.": true,
		"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.":  true,
		"454 4.7.0 The provider refused the gateway's authentication for this account: 535 5.7.139 SMTPCLIENTAUTHENTICATION is disabled for the Tenant":                true,
		"535 5.7.3 Authentication unsuccessful":                                                                           false,
		"535 5.7.139 Authentication unsuccessful, basic authentication is disabled.":                                      false,
		"535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.":                                   false,
		"535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully": false,
		"432 4.3.2 Concurrent connections limit exceeded":                                                                 false,
		"451 4.7.1 Message quota used up, next slot in 60 s":                                                              false,
		"550 5.7.1 ErrorAccessDenied Access is denied":                                                                    false,
	} {
		if closing(said) != want {
			t.Errorf("%s: closes the way: %t", said, !want)
		}
	}
}

// carrying is a way that carries what its function lets it.
type carrying struct {
	*scripted
	carries func(from string, opts *smtp.MailOptions) *relay.Reply
}

func (c *carrying) Carries(from string, opts *smtp.MailOptions) *relay.Reply {
	return c.carries(from, opts)
}

// TestFacts holds what each fact that is known before Begin decides, in both orders.
func TestFacts(t *testing.T) {
	const box = "box@example.com"
	tooBig := relay.ReplyAPITooBig(3_000_000)
	api := func() *carrying {
		return &carrying{new(scripted), func(from string, opts *smtp.MailOptions) *relay.Reply {
			switch {
			case from == "":
				return relay.ReplyAPINull
			case opts != nil && (opts.Return != "" || opts.EnvelopeID != ""):
				return relay.ReplyAPIDSN
			case opts != nil && opts.Size > 3_000_000:
				return tooBig
			}
			return nil
		}}
	}
	for name, tc := range map[string]struct {
		from   string
		opts   smtp.MailOptions
		closed bool   // SMTP is, to the mailbox
		want   string // the ways of "smtp graph", then of "graph smtp"
		reply  string // where no way is left
	}{
		"plain":            {from: box, want: "smtp graph"},
		"at the limit":     {from: box, opts: smtp.MailOptions{Size: 3_000_000}, want: "smtp graph"},
		"beyond the limit": {from: box, opts: smtp.MailOptions{Size: 3_000_001}, want: "smtp smtp"},
		"null sender":      {want: "smtp smtp"},
		"RET":              {from: box, opts: smtp.MailOptions{Return: smtp.DSNReturnHeaders}, want: "smtp smtp"},
		"ENVID":            {from: box, opts: smtp.MailOptions{EnvelopeID: "x"}, want: "smtp smtp"},
		"closed":           {from: box, closed: true, want: "graph graph"},
		// What the client can do something about is told before what it cannot.
		"closed, and beyond the limit": {from: box, opts: smtp.MailOptions{Size: 3_000_001}, closed: true, reply: "552 5.3.4"},
		"closed, and a null sender":    {closed: true, reply: "550 5.7.1"},
		"closed, and RET":              {from: box, opts: smtp.MailOptions{Return: smtp.DSNReturnFull}, closed: true, reply: "555 5.5.4"},
	} {
		t.Run(name, func(t *testing.T) {
			var took []string
			for i := range 2 {
				ways := []relay.Transport{new(scripted), api()}
				at := i // where SMTP is
				if i == 1 {
					ways[0], ways[1] = ways[1], ways[0]
				}
				tr, a := several(t, ways...)
				if tc.closed {
					learn(tr.ways[at].name, a, errClosing.Error(), true)
				}
				tx, err := tr.Begin(t.Context(), a, tc.from, &tc.opts)
				learn(tr.ways[at].name, a, "", false)
				if tc.reply != "" {
					if err == nil || !strings.HasPrefix(err.Error(), tc.reply) {
						t.Errorf("%v, want %s", err, tc.reply)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				way := "graph"
				if tx.(*transaction).way.name == tr.ways[at].name {
					way = "smtp"
				}
				took = append(took, way)
				tx.Abort()
			}
			if got := strings.Join(took, " "); got != tc.want {
				t.Errorf("took %s, want %s", got, tc.want)
			}
		})
	}
}

// TestFactsChange holds that a message which an upstream has begun stays there whatever
// becomes known meanwhile, that the next one knows it, and that an hour later the way
// is tried again.
func TestFactsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, a := several(t, new(scripted), new(scripted))
		begin := func() *transaction {
			tx, err := tr.Begin(t.Context(), a, "box@example.com", nil)
			if err != nil {
				t.Fatal(err)
			}
			return tx.(*transaction)
		}
		before := begin()
		if err := before.Rcpt(t.Context(), "a@example.org", nil); err != nil {
			t.Fatal(err)
		}
		learn(tr.ways[0].name, a, errClosing.Error(), true)
		if err := before.Rcpt(t.Context(), "b@example.org", nil); err != nil || before.way.name != tr.ways[0].name {
			t.Errorf("a message under way: %s, %v", before.way.name, err)
		}
		if after := begin(); after.way.name != tr.ways[1].name {
			t.Errorf("the next one took %s", after.way.name)
		}
		time.Sleep(closedFor)
		if later := begin(); later.way.name != tr.ways[0].name {
			t.Errorf("an hour later: %s", later.way.name)
		}
	})
}

// moody is a way that closes and opens as it likes; it counts the messages that it
// was given, by their text.
type moody struct {
	relay.Transport
	mu   sync.Mutex
	sent map[string]int
}

// mood refuses one in four.
func (m *moody) mood() error {
	if rand.IntN(4) == 0 {
		return errClosing
	}
	return nil
}

func (m *moody) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	if err := m.mood(); err != nil {
		return nil, err
	}
	return &moodyTx{m}, nil
}

type moodyTx struct{ m *moody }

func (tx *moodyTx) Rcpt(context.Context, string, *smtp.RcptOptions) error { return tx.m.mood() }
func (tx *moodyTx) Abort()                                                {}

func (tx *moodyTx) Data(_ context.Context, body io.Reader) (relay.Reply, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return relay.Reply{}, err
	}
	tx.m.mu.Lock()
	tx.m.sent[string(text)]++
	tx.m.mu.Unlock()
	if err := tx.m.mood(); err != nil { // behind the body: it may have left
		return relay.Reply{}, err
	}
	return *relay.ReplyAPIOK("1"), nil
}

// TestMoods lets facts change at each step of many messages at a time: none is given
// to two ways, and one that was acknowledged was given to one.
func TestMoods(t *testing.T) {
	first, second := &moody{sent: make(map[string]int)}, &moody{sent: make(map[string]int)}
	tr, a := several(t, first, second)
	const messages = 500
	acked := make([]bool, messages)
	var wg sync.WaitGroup
	for i := range messages {
		wg.Go(func() {
			if i%3 > 0 { // an operator's test finds it open
				learn(tr.ways[i%2].name, a, "", false)
			}
			tx, err := tr.Begin(t.Context(), a, "box@example.com", nil)
			if err != nil {
				return
			}
			defer tx.Abort()
			for range 2 {
				if tx.Rcpt(t.Context(), "a@example.org", nil) != nil {
					return
				}
			}
			_, err = tx.Data(t.Context(), strings.NewReader(fmt.Sprint(i)))
			acked[i] = err == nil
			if err != nil && !errors.Is(err, errClosing) {
				t.Errorf("message %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	n := 0
	for i := range messages {
		text := fmt.Sprint(i)
		given := first.sent[text] + second.sent[text]
		if given > 1 || acked[i] && given != 1 {
			t.Errorf("message %d was given %d times, acknowledged: %t", i, given, acked[i])
		}
		if acked[i] {
			n++
		}
	}
	if n == 0 || len(first.sent) == 0 || len(second.sent) == 0 {
		t.Errorf("%d acknowledged, %d and %d given", n, len(first.sent), len(second.sent))
	}
}
