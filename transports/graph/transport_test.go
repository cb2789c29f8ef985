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

package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
)

// tokens are access tokens straight from the sandbox.
type tokens struct {
	sb     *sandbox.Sandbox
	asked  atomic.Int32
	reject atomic.Int32
}

func (s *tokens) Token(_ context.Context, r grant.Request) (*oauth2.Token, error) {
	s.asked.Add(1)
	return &oauth2.Token{AccessToken: s.sb.IssueToken(r.Owner())}, nil
}
func (s *tokens) Fresh(ctx context.Context, r grant.Request) (*oauth2.Token, error) {
	return s.Token(ctx, r)
}
func (s *tokens) Reject(grant.Request, *oauth2.Token) { s.reject.Add(1) }
func (s *tokens) HasProvider(string) bool             { return true }

// mailbox is the account of these tests.
func mailbox() *accounts.Account {
	return &accounts.Account{Record: accounts.Record{Name: "box@example.com", Mailbox: "box@example.com"}}
}

// start returns a transport in front of a sandbox.
func start(t *testing.T, cfg Transport) (*Transport, *sandbox.Sandbox, *tokens) {
	t.Helper()
	sb, err := sandbox.Start(&sandbox.App{KeepBodies: true, KeepMessages: 20000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	tr := &cfg
	tr.Endpoint = sb.HTTPURL()
	tr.logger = zap.NewNop()
	if err := tr.fill(); err != nil {
		t.Fatal(err)
	}
	src := &tokens{sb: sb}
	tr.tokens = src
	if err := tr.Bind(t.Name()); err != nil {
		t.Fatal(err)
	}
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Detach() })
	return tr, sb, src
}

// send sends one message.
func send(t *testing.T, tr *Transport, rcpts []string, msg string) (relay.Reply, error) {
	t.Helper()
	tx, err := tr.Begin(t.Context(), mailbox(), "box@example.com", nil)
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

const plain = "From: box@example.com\r\nTo: a@example.org\r\n\r\nhello\r\n"

// TestFaults holds for each way in which Graph fails: what was acknowledged is
// there, nothing is there twice, and the client is told what is known.
func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name      string
		fault     sandbox.Fault
		want      string // how the reply begins
		delivered int
		asked     int32 // tokens, one for each request
	}{
		{"reset after the last octet, and sent", sandbox.Fault{Stage: "api_end", Action: "reset"}, "451 4.4.2", 1, 1},
		{"reset after the last octet, and not sent", sandbox.Fault{Stage: "api", Action: "reset"}, "451 4.4.2", 0, 1},
		{"closed after the last octet", sandbox.Fault{Stage: "api_end", Action: "close"}, "451 4.4.2", 1, 1},
		{"504 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, "451 4.4.2", 1, 1},
		{"504 that does not", sandbox.Fault{Stage: "api", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, "451 4.4.2", 0, 1},
		{"500 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "500 ErrorInternalServerError An internal error"}, "451 4.4.2", 1, 1},
		{"503 without a word", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "503"}, "451 4.4.2", 1, 1},
		{"503 with a code", sandbox.Fault{Stage: "api", Action: "reply", Reply: "503 ErrorServerBusy The server is busy"}, "451 4.3.2", 0, 1},
		{"408", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "408"}, "451 4.4.2", 1, 1},
		{"202 with Retry-After", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "202", RetryAfter: 30}, "250 2.0.0", 1, 1},
		{"429 with Retry-After", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 ApplicationThrottled over its limit", RetryAfter: 30}, "451 4.7.1 ApplicationThrottled over its limit, try again in 30 s", 0, 1},
		{"429 without", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 <html></html>"}, "451 4.7.1 HTTP 429, try again in 25 s", 0, 1},
		{"the day's limit", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 ErrorExceededMessageLimit Cannot send mail"}, "451 4.7.1 ErrorExceededMessageLimit Cannot send mail, try again in 3600 s", 0, 1},
		{"413 as HTML", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "413 <html></html>"}, "552 5.3.4", 0, 1},
		{"507", sandbox.Fault{Stage: "api", Action: "reply", Reply: "507 ErrorQuotaExceeded The mailbox is full"}, "452 4.2.2", 0, 1},
		{"SendAs", sandbox.Fault{Stage: "api", Action: "reply", Reply: "403 ErrorSendAsDenied Not yours"}, "550 5.7.60", 0, 1},
		{"a precise code within", sandbox.Fault{Stage: "api", Action: "reply", Reply: `404 {"error":{"code":"generalException","innerError":{"code":"ErrorInvalidUser"}}}`}, "550 5.1.8", 0, 1},
		{"an unknown code", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 ErrorNew Something"}, "554 5.0.0 ErrorNew Something", 0, 1},
		{"401 once", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken expired", Times: 1}, "250 2.0.0", 1, 2},
		{"401 always", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken expired"}, "454 4.7.0", 0, 2},
		{"no answer", sandbox.Fault{Stage: "api_end", Action: "hang"}, "451 4.4.2", 1, 1},
		{"slow", sandbox.Fault{Stage: "api", Action: "delay", Delay: caddy.Duration(50 * time.Millisecond)}, "250 2.0.0", 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr, sb, src := start(t, Transport{MaxWait: 1, Timeout: caddy.Duration(time.Second)})
			if _, err := sb.AddFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			reply, err := send(t, tr, []string{"a@example.org"}, plain)
			got := reply.Error()
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("reply %q, want %q", got, tc.want)
			}
			if n := len(sb.MessagesAfter(0, 10)); n != tc.delivered {
				t.Errorf("%d messages are in the mailbox, want %d", n, tc.delivered)
			}
			if n := src.asked.Load(); n != tc.asked {
				t.Errorf("%d requests, want %d", n, tc.asked)
			}
		})
	}
}

// TestEndpointIsDown holds that a message whose request never began is not said
// to be unknown.
func TestEndpointIsDown(t *testing.T) {
	tr, sb, _ := start(t, Transport{})
	sb.Close()
	if _, err := send(t, tr, []string{"a@example.org"}, plain); !errors.Is(err, relay.ReplyUpstreamDown) {
		t.Errorf("%v", err)
	}
}

func TestRefusedBeforeTheBody(t *testing.T) {
	tr, sb, src := start(t, Transport{MaxSize: 100})
	for _, tc := range []struct {
		name string
		from string
		opts smtp.MailOptions
		want string
	}{
		{"null sender", "", smtp.MailOptions{}, "550 5.7.1"},
		{"RET", "box@example.com", smtp.MailOptions{Return: smtp.DSNReturnFull}, "555 5.5.4"},
		{"ENVID", "box@example.com", smtp.MailOptions{EnvelopeID: "x"}, "555 5.5.4"},
		{"SIZE", "box@example.com", smtp.MailOptions{Size: 101}, "552 5.3.4"},
	} {
		if _, err := tr.Begin(t.Context(), mailbox(), tc.from, &tc.opts); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	tx, err := tr.Begin(t.Context(), mailbox(), "box@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	for to, want := range map[string]string{"a": "501 5.1.3", "a@b\r\nCc: x@y": "501 5.1.3", "é@example.org": "550 5.6.7"} {
		if err := tx.Rcpt(t.Context(), to, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("RCPT %q: %v, want %s", to, err, want)
		}
	}
	if err := tx.Rcpt(t.Context(), "a@example.org", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}); !errors.Is(err, relay.ReplyAPIDSN) {
		t.Errorf("NOTIFY: %v", err)
	}
	if _, err := send(t, tr, []string{"a@example.org"}, plain+strings.Repeat("x", 100)); err == nil || !strings.Contains(err.Error(), "limit of 100 octets") {
		t.Errorf("an undeclared size: %v", err)
	}
	if _, err := send(t, tr, []string{"b@example.org"}, plain); err == nil || !strings.HasPrefix(err.Error(), "554 5.6.0") || !strings.Contains(err.Error(), "a@example.org") {
		t.Errorf("a header beyond the envelope: %v", err)
	}
	if n := len(sb.MessagesAfter(0, 1)); n != 0 || src.asked.Load() != 0 {
		t.Errorf("%d messages, %d requests", n, src.asked.Load())
	}
}

// TestRandomEnvelopes holds that no message reaches an address outside of its
// envelope, and that an acknowledged one reaches all of it. The sandbox reads
// the header with a parser of its own, generously.
func TestRandomEnvelopes(t *testing.T) {
	const messages = 10_000
	if testing.Short() {
		t.Skip("10,000 messages")
	}
	many := accounts.Rate{Count: 1 << 40, Per: time.Minute}
	tr, sb, _ := start(t, Transport{RatePerAccount: many, RecipientsPerAccount: many})
	strict, rewriting := *tr, *tr
	rewriting.Rewrite = true
	if err := rewriting.Bind(tr.Name()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rewriting.Detach() })
	if err := rewriting.Attach(); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 15))
	g := generator{rnd}
	seen, acked := uint64(0), 0
	for i := range messages {
		rcpts, msg := g.message()
		use := &strict
		if i%4 == 3 {
			use = &rewriting
		}
		_, err := send(t, use, rcpts, msg)
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
		b.WriteString(g.pick("To", "Cc", "Bcc", "TO", "cC", "To", "Cc", "Resent-To", "Reply-To", "X-To"))
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
