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

// Package apitest is what the tests of HTTP API transports have in common:
// tokens straight from the sandbox, and random envelopes.
package apitest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
)

// Box is the mailbox of these tests.
const Box = "box@example.com"

// Account is its account.
func Account() *accounts.Account {
	return &accounts.Account{Record: accounts.Record{Name: Box, Mailbox: Box}}
}

// Tokens are access tokens straight from the sandbox.
type Tokens struct {
	Sandbox *sandbox.Sandbox
	// Of is whose tokens they are. Default: the mailbox's own.
	Of              string
	Asked, Rejected atomic.Int32
}

// Token implements grant.Source.
func (s *Tokens) Token(_ context.Context, r grant.Request) (*oauth2.Token, error) {
	s.Asked.Add(1)
	if s.Of != "" {
		return &oauth2.Token{AccessToken: s.Sandbox.IssueToken(s.Of)}, nil
	}
	return &oauth2.Token{AccessToken: s.Sandbox.IssueToken(r.Owner())}, nil
}

// Fresh implements grant.Source.
func (s *Tokens) Fresh(ctx context.Context, r grant.Request) (*oauth2.Token, error) {
	return s.Token(ctx, r)
}

// Reject implements grant.Source.
func (s *Tokens) Reject(grant.Request, *oauth2.Token) { s.Rejected.Add(1) }

// HasProvider implements grant.Source.
func (s *Tokens) HasProvider(string) bool { return true }

// Start returns a sandbox and tokens of it.
func Start(t *testing.T, app *sandbox.App) (*sandbox.Sandbox, *Tokens) {
	t.Helper()
	app.KeepBodies, app.KeepMessages = true, 20000
	sb, err := sandbox.Start(app, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	return sb, &Tokens{Sandbox: sb}
}

// Send sends one message.
func Send(t *testing.T, u relay.Upstream, rcpts []string, msg string) (relay.Reply, error) {
	t.Helper()
	tx, err := u.Begin(t.Context(), Account(), Box, nil)
	if err != nil {
		return relay.Reply{}, err
	}
	defer tx.Abort()
	for _, r := range rcpts {
		if err := tx.Rcpt(t.Context(), r, nil); err != nil {
			return relay.Reply{}, err
		}
	}
	return tx.Data(t.Context(), strings.NewReader(msg))
}

// RandomEnvelopes sends 10,000 messages, each fourth by the upstream that
// rewrites, and holds that none reaches an address outside of its envelope, and
// that an acknowledged one reaches all of it. The sandbox reads the header with
// a parser of its own, generously; in one half it delivers to Resent-To and the like
// too, which a provider may do or not.
func RandomEnvelopes(t *testing.T, start func(t *testing.T, app *sandbox.App) (sb *sandbox.Sandbox, strict, rewriting relay.Upstream)) {
	for seed, resent := range []bool{false, true} {
		t.Run(fmt.Sprintf("resent=%t", resent), func(t *testing.T) {
			sb, strict, rewriting := start(t, &sandbox.App{APIResent: resent, GmailUnitsPerMinute: -1})
			randomEnvelopes(t, uint64(seed), sb, strict, rewriting) //nolint:gosec // 0 or 1
		})
	}
}

func randomEnvelopes(t *testing.T, seed uint64, sb *sandbox.Sandbox, strict, rewriting relay.Upstream) {
	const messages = 5_000
	g := generator{rand.New(rand.NewPCG(seed, 15))} //nolint:gosec // the same envelopes each time
	seen, acked := uint64(0), 0
	for i := range messages {
		rcpts, msg := g.message()
		use := strict
		if i%4 == 3 {
			use = rewriting
		}
		_, err := Send(t, use, rcpts, msg)
		if err == nil {
			acked++
		}
		got := sb.MessagesAfter(seen, 10)
		if want := map[bool]int{true: 1, false: 0}[err == nil]; len(got) != want {
			t.Fatalf("message %d: %v, and %d were delivered\n%s", i, err, len(got), msg)
		}
		if err != nil {
			continue
		}
		seen = got[0].ID
		if want, to := sorted(rcpts), sorted(got[0].Rcpts); !slices.Equal(want, to) {
			t.Fatalf("message %d for %v went to %v\n%s", i, want, to, msg)
		}
	}
	// A generator that makes nothing but refusals shows nothing.
	if acked < messages/10 || acked > messages*9/10 {
		t.Errorf("%d of %d acknowledged", acked, messages)
	}
}

func sorted(addrs []string) []string {
	var s []string
	for _, a := range addrs {
		s = append(s, strings.ToLower(a))
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// generator makes messages as clients do, and some as no client should.
type generator struct{ *rand.Rand }

func (g generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g generator) message() (rcpts []string, msg string) {
	for range 1 + g.IntN(4) {
		rcpts = append(rcpts, fmt.Sprintf("in%d@example.org", g.IntN(6)))
	}
	var b strings.Builder
	b.WriteString(g.pick("From: box@example.com\r\n", "From: Box <box@example.com>\r\n"))
	for range g.IntN(4) {
		b.WriteString(g.pick("To", "Cc", "Bcc", "TO", "cC", "To", "Cc", "Resent-To", "Resent-Cc", "resent-BCC", "Reply-To", "X-To"))
		b.WriteString(":")
		for n := range 1 + g.IntN(3) {
			if n > 0 {
				b.WriteString(g.pick(",", ", ", ",\r\n ", ",\r\n\t", " , "))
			}
			b.WriteString(g.entry(rcpts))
		}
		b.WriteString("\r\n")
	}
	b.WriteString("Subject: x\r\n\r\nTo: outside@evil.example\r\n")
	msg = b.String()
	if g.IntN(4) == 0 { // foreign bytes
		at := g.IntN(len(msg) - 30)
		msg = msg[:at] + g.pick("\"", "(", ")", "<", ">", ",", ";", ":", "\\", "\r\n ", " ", "@", "\r\n", "\n", "\r", "\x00", "é") + msg[at+g.IntN(2):]
	}
	return rcpts, msg
}

func (g generator) entry(rcpts []string) string {
	addr := rcpts[g.IntN(len(rcpts))]
	if g.IntN(12) == 0 {
		addr = g.pick("outside@evil.example", "in9@example.org")
	}
	local, domain, _ := strings.Cut(addr, "@")
	switch g.IntN(14) {
	case 0:
		return "Name <" + addr + ">"
	case 1:
		return `"outside@evil.example" <` + addr + ">"
	case 2:
		return `"a, <outside@evil.example>, b" <` + addr + ">"
	case 3:
		return "(outside@evil.example) " + addr
	case 4:
		return addr + " (a (outside@evil.example) b)"
	case 5:
		return "=?utf-8?q?outside=40evil=2Eexample?= <" + addr + ">"
	case 6:
		return "=?utf-8?b?b3V0c2lkZUBldmlsLmV4YW1wbGU=?= <" + addr + ">"
	case 7:
		return "friends: " + addr + ", N <" + addr + ">;"
	case 8:
		return "undisclosed-recipients:;"
	case 9:
		return strings.ToUpper(addr)
	case 10:
		return `"` + local + `"@` + domain
	case 11:
		return "A. B.\r\n <" + addr + ">"
	case 12:
		return g.pick("outside@evil.example <"+addr+">", "<@evil.example:"+addr+">", addr+" outside@evil.example", addr+"; outside@evil.example", `"\"" <`+addr+">")
	}
	return addr
}
