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
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// Transport sends each message through the first of several upstreams that can
// carry it.
type Transport struct {
	// Upstreams are the names of the upstreams, in the order in which they are
	// preferred. They send from the same mailboxes.
	Upstreams []string `json:"upstreams,omitempty"`

	name   string
	ways   []way
	logger *zap.Logger
}

// way is one of the upstreams.
type way struct {
	name string
	relay.Transport
}

// carrier is a transport that cannot carry everything, and knows beforehand.
type carrier interface {
	Carries(from string, opts *smtp.MailOptions) *relay.Reply
}

// counter is a transport that may count elsewhere.
type counter interface {
	// Counts names the upstream that counts.
	Counts() string
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams.transports.choice",
		New: func() caddy.Module { return new(Transport) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Transport) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, t) }

// Provision checks the configuration.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.logger = printable.Logger(ctx.Logger())
	return t.check()
}

func (t *Transport) check() error {
	if len(t.Upstreams) < 2 {
		return errors.New("upstreams: a choice needs two at least")
	}
	for i, name := range t.Upstreams {
		if slices.Contains(t.Upstreams[:i], name) {
			return fmt.Errorf("upstreams: '%s' stands there twice", name)
		}
	}
	return nil
}

// Bind implements relay.Transport.
func (t *Transport) Bind(name string) error {
	t.name = name
	return nil
}

// DependsOn implements relay.Dependent.
func (t *Transport) DependsOn() []string { return t.Upstreams }

// Join implements relay.Dependent. Upstreams that count apart would let a
// mailbox send more than its provider allows.
func (t *Transport) Join(siblings map[string]relay.Transport) error {
	first := ""
	for _, name := range t.Upstreams {
		sibling := siblings[name]
		counts := name
		if c, ok := sibling.(counter); ok {
			counts = c.Counts()
		}
		if first == "" {
			first = counts
		}
		if counts != first {
			return fmt.Errorf("upstreams: '%s' and '%s' count the same mailboxes apart: one needs `ledger` with the other's name", t.Upstreams[0], name)
		}
		t.ways = append(t.ways, way{name, sibling})
	}
	return nil
}

// Attach implements relay.Transport.
func (t *Transport) Attach() error { return nil }

// Detach implements relay.Transport.
func (t *Transport) Detach() error { return nil }

// obstacle says why a message cannot take a way.
type obstacle struct {
	way   string
	said  string
	reply *relay.Reply // for the client, if no way is left
}

// open returns the ways that a message may take, in order, and what keeps it from
// the others.
func (t *Transport) open(a *accounts.Account, from string, opts *smtp.MailOptions) (ways []way, not []obstacle) {
	for _, w := range t.ways {
		if said, ok := closed(w.name, a); ok {
			not = append(not, obstacle{w.name, said, relay.ReplyWayClosed(said)})
			continue
		}
		if c, ok := w.Transport.(carrier); ok {
			if reply := c.Carries(from, opts); reply != nil {
				not = append(not, obstacle{w.name, reply.Error(), reply})
				continue
			}
		}
		ways = append(ways, w)
	}
	return ways, not
}

// Begin implements relay.Upstream.
func (t *Transport) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	tx := &transaction{t: t, acct: a, from: from, opts: opts}
	tx.rest, tx.not = t.open(a, from, opts)
	if err := tx.begin(ctx); err != nil {
		return nil, err
	}
	return tx, nil
}

// closedWay says in the log that a way is closed.
func (t *Transport) closedWay(name string, a *accounts.Account, err error) {
	t.logger.Warn("an upstream is closed to the mailbox, another is taken",
		zap.String("upstream", t.name), zap.String("closed", name), zap.String("account", a.Name), zap.Error(err))
}

// refusal is what the client is told where no way is left: what it can do
// something about comes first.
func refusal(not []obstacle) *relay.Reply {
	for _, o := range not {
		if !o.reply.Temporary() {
			return o.reply
		}
	}
	return not[0].reply
}

// Warm implements relay.Warmer.
func (t *Transport) Warm(a *accounts.Account) {
	ways, _ := t.open(a, a.Mailbox, nil)
	if len(ways) == 0 {
		return
	}
	if w, ok := ways[0].Transport.(relay.Warmer); ok {
		w.Warm(a)
	}
}

// OAuthProvider implements relay.OAuthUser: that of the first one that has one.
func (t *Transport) OAuthProvider() string {
	for _, w := range t.ways {
		if u, ok := w.Transport.(relay.OAuthUser); ok && u.OAuthProvider() != "" {
			return u.OAuthProvider()
		}
	}
	return ""
}

// Status implements relay.Reporter. The connections are counted at the upstreams
// themselves.
func (t *Transport) Status() relay.UpstreamStatus {
	return relay.UpstreamStatus{Name: t.name, Transport: "choice", Provider: t.OAuthProvider()}
}

// AccountStatus implements relay.Reporter: that of the way that is taken.
func (t *Transport) AccountStatus(a *accounts.Account) relay.AccountStatus {
	st := relay.AccountStatus{Account: a.Name, Upstream: t.name}
	open, not := t.open(a, a.Mailbox, nil)
	if len(open) > 0 {
		if r, ok := open[0].Transport.(relay.Reporter); ok {
			st = r.AccountStatus(a)
		}
	}
	for _, w := range t.ways {
		ws := relay.WayStatus{Upstream: w.name, Taken: len(open) > 0 && open[0].name == w.name}
		for _, o := range not {
			if o.way == w.name {
				ws.Closed = o.said
			}
		}
		st.Ways = append(st.Ways, ws)
	}
	return st
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Transport)(nil)
	_ relay.Transport    = (*Transport)(nil)
	_ relay.Dependent    = (*Transport)(nil)
	_ relay.OAuthUser    = (*Transport)(nil)
	_ relay.Reporter     = (*Transport)(nil)
	_ relay.SingleFlight = (*Transport)(nil)
	_ relay.Warmer       = (*Transport)(nil)
	_ relay.Verifier     = (*Transport)(nil)
)
