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

package upstreampool

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// lender lets everything be lent until its lease ends.
type lender struct {
	local atomic.Pointer[limits.Local]
	until atomic.Int64
}

func (l *lender) Adopt(local *limits.Local) { l.local.Store(local) }
func (l *lender) Release(*limits.Local)     {}
func (l *lender) Until() int64              { return l.until.Load() }
func (l *lender) Dropped(string)            {}
func (l *lender) Due(string)                {}
func (l *lender) Lacks(mailbox string)      { go l.allow(mailbox, 1000) }

func (l *lender) allow(mailbox string, conns int64) {
	l.local.Load().Look(mailbox, func(b *limits.Book) {
		for _, it := range b.Items() {
			b.Allow(it.Key, 1000)
		}
		b.Allow(limits.ConnsKey, conns)
		b.Serve()
	})
}

// TestLeaseEnds has the right to lend end between a message's turn and MAIL, and
// other nodes want its connections.
func TestLeaseEnds(t *testing.T) {
	p := newProvider(t)
	s := testSettings(t, p)
	l := new(lender)
	l.until.Store(math.MaxInt64)
	s.lender = l
	u := start(t, s)
	a := testAccount("a@example.com")
	if err := deliver(u, a, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n := u.count(); n.Idle != 1 {
		t.Fatalf("%+v: no connection is idle", n)
	}
	before := p.count("MAIL")
	tx, err := u.begin(t.Context(), a, "a@b.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.until.Store(0)
	if err := tx.Rcpt(t.Context(), "c@d.test", nil); !errors.Is(err, relay.ReplyLimitsNotStored) {
		t.Errorf("after the lease's end: %v", err)
	}
	tx.Abort()
	if n := p.count("MAIL"); n != before {
		t.Errorf("MAIL left after the lease's end")
	}
	s.maxWait = 20 * time.Millisecond
	if err := deliver(u, a, "Subject: x\r\n\r\n"); !errors.Is(err, relay.ReplyLimitsNotStored) {
		t.Errorf("a message after the lease's end: %v", err)
	}
	l.until.Store(math.MaxInt64)
	s.maxWait = 10 * time.Second
	if err := deliver(u, a, "Subject: x\r\n\r\n"); err != nil {
		t.Error(err)
	}

	l.allow(accounts.FoldName(a.Name), 0)
	for i := 0; u.count().Idle != 0; i++ {
		if i == 10_000 {
			t.Fatal("a connection that others need stays open")
		}
		time.Sleep(time.Millisecond) // it is closed on a goroutine of its own
	}
	if err := deliver(u, a, "Subject: x\r\n\r\n"); err != nil {
		t.Errorf("with another share: %v", err)
	}
}

// TestLeaseEndsWhileDialing has the right to a connection end after it was taken:
// it is not dialed, and one that is up does not log in.
func TestLeaseEndsWhileDialing(t *testing.T) {
	for _, step := range []string{"token", "EHLO"} {
		t.Run(step, func(t *testing.T) {
			l := new(lender)
			l.until.Store(math.MaxInt64)
			ends := sync.OnceFunc(func() { l.until.Store(0) })
			p := newProvider(t, func(p *provider) {
				p.hook = func(_ *serverConn, line string) string {
					if step == "EHLO" && strings.HasPrefix(line, step) {
						ends()
					}
					return ""
				}
			})
			k := &leasedTokens{ended: ends, now: step == "token"}
			s := oauthSettings(t, p, &k.tokens, smtpclient.XOAUTH2)
			s.Tokens, s.lender = k, l
			u := start(t, s)
			a := testAccount("a@example.com")
			if err := deliver(u, a, "Subject: x\r\n\r\n"); !errors.Is(err, relay.ReplyLimitsNotStored) {
				t.Errorf("the lease ended before the login: %v", err)
			}
			if n := p.count("AUTH"); n != 0 {
				t.Errorf("%d logins without a lease", n)
			}
			if n := p.count("EHLO"); step == "token" && n != 0 {
				t.Errorf("%d connections without a lease", n)
			}
			l.until.Store(math.MaxInt64)
			if err := deliver(u, a, "Subject: x\r\n\r\n"); err != nil {
				t.Errorf("with a lease again: %v", err)
			}
		})
	}
}

// leasedTokens takes as long for a token as the lease lasts.
type leasedTokens struct {
	tokens
	ended func()
	now   bool
}

func (k *leasedTokens) Token(ctx context.Context, r oauthgrant.Request) (*oauth2.Token, error) {
	if k.now {
		k.ended()
	}
	return k.tokens.Token(ctx, r)
}

// TestLeaseEndsWhileWaiting has other nodes get all of a mailbox's connections
// while the provider takes its time for the end of a message: the connection is
// closed, the client hears that it is not known what became of the message, and it
// is sent by no other connection.
func TestLeaseEndsWhileWaiting(t *testing.T) {
	waits := make(chan struct{}, 1)
	p := newProvider(t, func(p *provider) {
		p.caps = []string{"AUTH PLAIN"}
		p.hook = func(s *serverConn, line string) string {
			if line == "<end>" && s.n == 1 {
				waits <- struct{}{}
				return "<hang>"
			}
			return ""
		}
	})
	s := testSettings(t, p)
	l := new(lender)
	l.until.Store(math.MaxInt64)
	s.lender = l
	u := start(t, s)
	a := testAccount("a@example.com")
	result := make(chan error, 1)
	go func() { result <- deliver(u, a, "Subject: x\r\n\r\n") }()
	<-waits
	l.until.Store(0)
	l.local.Load().End(accounts.FoldName(a.Name))
	var reply *relay.Reply
	if err := <-result; !errors.As(err, &reply) || reply.Code != 451 {
		t.Errorf("the message: %v", err)
	}
	if n := p.count("MAIL"); n != 1 {
		t.Errorf("%d MAIL, of one message", n)
	}
	for i := 0; u.count() != (relay.ConnCounts{}); i++ {
		if i == 10_000 {
			t.Fatalf("%+v: the connection is still counted", u.count())
		}
		time.Sleep(time.Millisecond)
	}
	l.until.Store(math.MaxInt64)
	if err := deliver(u, a, "Subject: x\r\n\r\n"); err != nil {
		t.Errorf("with a lease again: %v", err)
	}
}
