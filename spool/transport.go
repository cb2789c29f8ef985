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
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// keyID names a key in the files and does not let it be guessed.
func keyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("mailgateway spool key id\n"), key...))
	return hex.EncodeToString(sum[:4])
}

// DependsOn implements relay.Dependent.
func (t *Transport) DependsOn() []string {
	if t.Upstream == "" {
		return nil
	}
	if t.Peer != "" {
		return []string{t.Upstream, t.Peer}
	}
	return []string{t.Upstream}
}

// Join implements relay.Dependent. A spool that has no upstream of its own is
// given all of them.
func (t *Transport) Join(siblings map[string]relay.Transport) error {
	if t.Peer != "" {
		peer, ok := siblings[t.Peer]
		if !ok {
			return fmt.Errorf("peer: upstream '%s' is not configured", t.Peer)
		}
		if _, ok := peer.(relay.Spool); ok || t.Peer == t.Upstream {
			return fmt.Errorf("peer: upstream '%s' is no other gateway", t.Peer)
		}
		t.peer = peer
	}
	if t.Upstream == "" {
		t.siblings = siblings
		return nil
	}
	next, ok := siblings[t.Upstream]
	if !ok {
		return fmt.Errorf("spool: upstream '%s' is missing", t.Upstream)
	}
	t.next = next
	return nil
}

// behind returns the upstream that an account's mail is sent through.
func (t *Transport) behind(a *accounts.Account) (relay.Transport, bool) {
	if t.Upstream != "" {
		return t.next, true
	}
	next, ok := t.siblings[a.Upstream]
	return next, ok
}

// Attach implements relay.Transport. The spool that servers and accounts may ask
// for makes no directory before the first message that it keeps.
func (t *Transport) Attach() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Upstream != "" || t.fs.Exists(t.dir) || t.notes != "" && (disk.OS{}).Exists(store.Note(t.notes, t.dir)) {
		t.engine = attachEngine(t)
	}
	close(t.started)
	if t.Upstream == "" && t.data != "" {
		sayForgotten(t.data, t.logger) // it is the last one of a configuration
	}
	return nil
}

// Detach implements relay.Transport.
func (t *Transport) Detach() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.engine != nil {
		detachEngine(t.engine, t)
	}
	return nil
}

// ready returns the engine. Caddy starts apps in any order, so a message may be
// here first.
func (t *Transport) ready(ctx context.Context) (*engine, error) {
	select {
	case <-t.started:
	default:
		timeout := time.NewTimer(time.Duration(t.MaxWait))
		defer timeout.Stop()
		select {
		case <-t.started:
		case <-timeout.C:
			return nil, relay.ReplyNoConnection
		case <-ctx.Done():
			return nil, relay.ReplyNoConnection
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.engine != nil:
	case t.over:
		return nil, relay.ReplyShuttingDown
	default:
		t.engine = attachEngine(t)
	}
	return t.engine, nil
}

// IntroduceAs implements relay.Introducer.
func (t *Transport) IntroduceAs(hostname string) {
	if t.Hostname == "" {
		t.Hostname = hostname
	}
}

// Always implements relay.Spool.
func (t *Transport) Always() relay.Upstream { return &always{t} }

// always is a spool whose clients do not wait for the provider.
type always struct{ *Transport }

// Begin implements relay.Upstream.
func (t *always) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	return t.beginKept(ctx, a, from, opts)
}

// Send implements relay.SingleFlight.
func (t *always) Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to relay.Recipient, body io.Reader) (relay.Reply, relay.Info, error) {
	tr, err := t.beginKept(ctx, a, from, opts)
	if err != nil {
		return relay.Reply{}, relay.Info{Upstream: t.name, Refused: true}, err
	}
	tr.rcpts = []relay.Recipient{to}
	reply, err := tr.Data(ctx, body)
	return reply, tr.Describe(), err
}

// accountSource holds the look-up, which comes when the accounts are there.
type accountSource struct {
	atomic.Pointer[accountLookup]
}

// UseAccounts implements relay.AccountUser.
func (t *Transport) UseAccounts(lookup func(name string) (*accounts.Account, bool)) {
	l := accountLookup(lookup)
	t.lookup.Store(&l)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.engine != nil {
		t.engine.wake()
	}
}

// account returns the account that a kept message is sent for.
func (t *Transport) account(name string) (*accounts.Account, bool) {
	l := t.lookup.Load()
	if l == nil {
		return nil, false
	}
	return (*l)(name)
}

// Warm implements relay.Warmer.
func (t *Transport) Warm(a *accounts.Account) {
	next, _ := t.behind(a)
	if w, ok := next.(relay.Warmer); ok && !t.AlwaysKeep {
		w.Warm(a)
	}
}

// OAuthProvider implements relay.OAuthUser.
func (t *Transport) OAuthProvider() string {
	if u, ok := t.next.(relay.OAuthUser); ok {
		return u.OAuthProvider()
	}
	return ""
}

// Status implements relay.Reporter: the state of the upstream behind, under the
// spool's name.
func (t *Transport) Status() relay.UpstreamStatus {
	st := relay.UpstreamStatus{Name: t.name}
	if r, ok := t.next.(relay.Reporter); ok {
		st = r.Status()
	}
	// The connections are counted there, and once is enough.
	return relay.UpstreamStatus{Name: t.name, Transport: "spool", Dial: st.Dial, TLS: st.TLS, Mechanism: st.Mechanism, Provider: st.Provider, Breaker: st.Breaker, Contact: st.Contact}
}

// AccountStatus implements relay.Reporter.
func (t *Transport) AccountStatus(a *accounts.Account) relay.AccountStatus {
	next, _ := t.behind(a)
	if r, ok := next.(relay.Reporter); ok {
		return r.AccountStatus(a)
	}
	return relay.AccountStatus{Account: a.Name, Upstream: t.name}
}

// Drain implements relay.Drainer.
func (t *Transport) Drain() {
	if d, ok := t.next.(relay.Drainer); ok {
		d.Drain()
	}
}

// Verify implements relay.Verifier.
func (t *Transport) Verify(ctx context.Context, a *accounts.Account, from string, step func(relay.VerifyStep)) error {
	next, _ := t.behind(a)
	if v, ok := next.(relay.Verifier); ok {
		return v.Verify(ctx, a, from, step)
	}
	return errUnverifiable
}

var errUnverifiable = errors.New("the upstream behind the spool does not support this")

// Interface guards
var (
	_ relay.Transport   = (*Transport)(nil)
	_ relay.Dependent   = (*Transport)(nil)
	_ relay.Warmer      = (*Transport)(nil)
	_ relay.OAuthUser   = (*Transport)(nil)
	_ relay.Reporter    = (*Transport)(nil)
	_ relay.Drainer     = (*Transport)(nil)
	_ relay.Verifier    = (*Transport)(nil)
	_ relay.AccountUser = (*Transport)(nil)
	_ relay.Introducer  = (*Transport)(nil)
	_ relay.Spool       = (*Transport)(nil)

	_ relay.SingleFlight = (*Transport)(nil)
	_ relay.SingleFlight = (*always)(nil)
)
