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
// tokens straight from the sandbox, random envelopes, and readers of headers who
// understand what they like.
package apitest

import (
	"context"
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

// UnquotedFrom holds that what Exchange refuses in its own words, and Gmail may
// replace, is told for what it is.
func UnquotedFrom(t *testing.T, sb *sandbox.Sandbox, u relay.Upstream) {
	t.Helper()
	for from, want := range map[string]string{
		"box@example.com <box@example.com>":     "554 5.6.0 The From field",
		"\"box@example.com\" <box@example.com>": "250 2.0.0",
	} {
		reply, err := Send(t, u, []string{"a@example.org"}, "From: "+from+"\r\nTo: a@example.org\r\n\r\nhello\r\n")
		got := reply.Error()
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
	if n := len(sb.Messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}
