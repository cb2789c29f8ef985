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
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// handOverPause is the time between attempts to hand an account's mail over: an
// operator waits.
const handOverPause = 15 * time.Second

// ErrNoPeer says that a spool is to hand its mail over and has no peer.
var ErrNoPeer = errors.New("the spool has no `peer` to hand its messages over to")

// errDraining is why a spool that is being emptied keeps nothing.
var errDraining = errors.New("the spool is being drained")

// Draining is the state of a spool that is being emptied: it keeps nothing new,
// and what it has is due at once. It lasts until EndDrain, or until the process
// ends: what an attempt has settled is in the journals, so a new drain goes on
// where the last one was.
type Draining struct {
	Since time.Time `json:"since"`
	// Peer is the upstream that the messages are handed over to; empty if they
	// are sent as ever.
	Peer string `json:"peer,omitempty"`
}

// Drain begins to empty every spool of the process, or those in front of one
// upstream. Called again, it changes only how.
func Drain(upstream string, handOver bool) error {
	chosen := running()
	if upstream != "" {
		chosen = slices.DeleteFunc(chosen, func(e *engine) bool { return e.name() != upstream })
		if len(chosen) == 0 {
			return fmt.Errorf("%w: '%s'", ErrNoSpool, upstream)
		}
	}
	for _, e := range chosen {
		if t, ok := e.gens.Current(); handOver && ok && t.peer == nil {
			return fmt.Errorf("spool '%s': %w", t.name, ErrNoPeer)
		}
	}
	for _, e := range chosen {
		e.drain(handOver)
	}
	return nil
}

// ErrNoSpool says that no spool of the process has that name.
var ErrNoSpool = errors.New("no such spool")

// EndDrain lets every spool keep messages again.
func EndDrain() {
	for _, e := range running() {
		e.mu.Lock()
		was := e.draining
		e.draining = nil
		e.mu.Unlock()
		if was != nil {
			e.logger.Info("spool is drained no longer", zap.String("dir", e.store.Dir()))
		}
		e.wake()
	}
}

func (e *engine) drain(handOver bool) {
	t, ok := e.gens.Current()
	if !ok {
		return
	}
	peer := ""
	if handOver {
		peer = t.Peer
	}
	now := time.Now()
	e.mu.Lock()
	defer e.wake()
	defer e.mu.Unlock()
	if e.draining != nil && e.draining.Peer == peer {
		return
	}
	e.draining = &Draining{Since: now, Peer: peer}
	e.logger.Info("spool is drained", zap.String("dir", e.store.Dir()), zap.Int("messages", len(e.all)), zap.String("peer", peer))
	for _, m := range e.all {
		m.lane.until = time.Time{}
		// What a provider asked for is no business of the peer's.
		if m.next = now; peer == "" && m.asked.After(now) {
			m.next = m.asked
			e.trim(m, now)
		}
		e.arrange(m, now)
	}
}

// handingOver returns the peer that an account's messages go to, if they do.
func (e *engine) handingOver(t *Transport) (peer relay.Transport, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining == nil || e.draining.Peer == "" || t.peer == nil {
		return nil, false
	}
	return t.peer, true
}

// sender returns the account that a message is sent for, and what through. Where
// it returns a reason, the message waits.
func (e *engine) sender(t *Transport, m *message) (acct *accounts.Account, next relay.Transport, handOver bool, why string) {
	acct, ok := t.account(m.env.Account)
	if !ok {
		return nil, nil, false, "the account is not there"
	}
	if peer, ok := e.handingOver(t); ok {
		// Whether a paused account may send is the peer's to say.
		return acct, peer, true, ""
	}
	if acct.Paused {
		return nil, nil, false, "the account is paused"
	}
	if next, ok = t.behind(acct); !ok {
		return nil, nil, false, "the account's upstream is not configured"
	}
	return acct, next, false, ""
}
