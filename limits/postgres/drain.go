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

package postgres

import (
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/limits"
)

// drain has the node give back what is not in use. A mailbox whose messages are
// under way, or that gets another one, keeps or takes what those need, and gives
// it back when they are over.
func (n *node) drain(on bool) {
	was := n.draining.Swap(on)
	switch {
	case on:
		n.wake()
	case was:
		n.each(func(_ *guest, l *limits.Local) { l.Recall(-1) })
	}
	if was != on {
		n.beatNow() // which says it to who looks at another node
	}
}

// beatNow has the heart beat now.
func (n *node) beatNow() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// obey does what another node has asked for: clients first, since what they
// begin would take shares again.
func (n *node) obey(drain bool) {
	n.logger.Info("asked through another node", zap.Bool("drain", drain))
	if f := n.front.Load(); f != nil {
		(*f).HandOn(drain)
	}
	n.drain(drain)
}

// standing is what a heartbeat says of the node.
func (n *node) standing() standing {
	st := standing{draining: n.draining.Load()}
	if f := n.front.Load(); f != nil {
		st.sessions = int64((*f).SessionCount())
	}
	return st
}

// giveBack has every mailbox looked at of which the node has something. The
// worker does it again each second: a mailbox is idle when it has not sent for a
// while.
func (n *node) giveBack() {
	n.each(func(_ *guest, l *limits.Local) { l.Recall(0) })
	var keys []key
	n.life <- struct{}{}
	n.mu.Lock()
	for _, g := range n.guests {
		for mailbox := range g.states {
			keys = append(keys, key{g.upstream, mailbox})
		}
	}
	n.mu.Unlock()
	<-n.life
	for _, k := range keys {
		n.ask(k, 0)
	}
}

// idle reports whether nothing of a mailbox is open, under way or waited for.
func idle(items []limits.Item) bool {
	for _, it := range items {
		if it.Busy || it.Lacks {
			return false
		}
		n := it.Used
		for _, s := range it.Stamps {
			n -= s.N
		}
		if n > 0 {
			return false
		}
	}
	return true
}
