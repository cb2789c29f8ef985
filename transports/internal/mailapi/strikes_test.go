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
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
)

// tokens are a source of one token.
type tokens struct{}

func (tokens) Token(context.Context, grant.Request) (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: "token"}, nil
}

func (t tokens) Fresh(ctx context.Context, r grant.Request) (*oauth2.Token, error) {
	return t.Token(ctx, r)
}
func (tokens) Reject(grant.Request, *oauth2.Token) {}
func (tokens) HasProvider(string) bool             { return true }

// provider answers requests without a network.
type provider func(r *http.Request) (status int)

func (p provider) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return &http.Response{StatusCode: p(r), Header: make(http.Header), Body: http.NoBody, Request: r}, nil
}

// scripted is a transport whose provider is a function.
func scripted(t *testing.T, cfg *Upstream, p provider) *Upstream {
	t.Helper()
	u := limited(t, cfg)
	u.Tokens, u.Timeout, u.Logger = tokens{}, time.Minute, zap.NewNop()
	u.URL = func(*accounts.Account) string { return "http://localhost/" }
	u.Prepare = func(_ *accounts.Account, _ []string, body io.Reader) (*Body, *relay.Reply) {
		b, _ := hold(body)
		return b, nil
	}
	u.Read = func(ans *Answer) Verdict {
		if ans.Status == http.StatusOK {
			return Verdict{Reply: relay.ReplyAPIOK("1"), Outcome: Outcome{Sent: true}}
		}
		hold := Doubled(25*time.Second, ans.Strikes)
		return Verdict{Reply: relay.ReplyAPIHold("wait", hold), Outcome: Outcome{Hold: hold, Strike: true}}
	}
	if err := u.Bind(t.Name()); err != nil {
		t.Fatal(err)
	}
	u.http.Transport = p
	return u
}

func sendOne(t *testing.T, l *ledger, u *Upstream, a *accounts.Account) error {
	t.Helper()
	p, _, err := l.enter(t.Context(), u, a)
	if err != nil {
		return err
	}
	tx := &transaction{u: u, acct: a, place: p}
	defer tx.Abort()
	if err := tx.Rcpt(t.Context(), "a@example.org", nil); err != nil {
		return err
	}
	_, err = tx.Data(t.Context(), strings.NewReader("hello"))
	return err
}

// TestStrikes holds that a mailbox which is asked to wait and not told for how long
// waits longer each time, that a message which is taken ends that, and that what
// was under way together counts once.
func TestStrikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := http.StatusTooManyRequests
		u := scripted(t, &Upstream{MaxWait: time.Second}, func(*http.Request) int { return status })
		l := newLedger()
		refused := func() time.Duration {
			err := sendOne(t, l, u, mailbox())
			r, ok := errors.AsType[*relay.Reply](err)
			if !ok {
				t.Fatalf("%v", err)
			}
			return r.After
		}
		for _, want := range []time.Duration{25 * time.Second, 50 * time.Second, 100 * time.Second, 200 * time.Second, 400 * time.Second, maxDoubled, maxDoubled} {
			if got := refused(); got != want {
				t.Fatalf("refused for %v, want %v", got, want)
			}
			time.Sleep(want)
		}
		status = http.StatusOK
		if err := sendOne(t, l, u, mailbox()); err != nil {
			t.Fatal(err)
		}
		status = http.StatusTooManyRequests
		var together []*place
		for range 4 {
			p, _, err := l.enter(t.Context(), u, mailbox())
			if err != nil {
				t.Fatal(err)
			}
			together = append(together, p)
		}
		for _, p := range together {
			p.leave(Outcome{Hold: 25 * time.Second, Strike: true})
		}
		time.Sleep(25 * time.Second)
		if got := refused(); got != 50*time.Second {
			t.Errorf("refused for %v after one refusal of four requests", got)
		}
		// A mailbox that sent nothing for long has not shown that the wait was too short.
		time.Sleep(50*time.Second + maxDoubled + time.Second)
		if got := refused(); got != 25*time.Second {
			t.Errorf("refused for %v after a pause", got)
		}
	})
}
