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
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
)

// key names a mailbox of an upstream.
type key struct{ Upstream, Mailbox string }

// engine is what the protocol needs of a database. Whatever an error says, the
// call may have been made.
type engine interface {
	// join makes a node, whose lease ends ttl from now.
	join(ctx context.Context, id, name string, ttl time.Duration) (now int64, err error)
	// beat renews the lease of a node, unless it has ended.
	beat(ctx context.Context, id string, ttl time.Duration, st standing) (pulse, error)
	// ask leaves word for a node that lives, whose next beat hears it, and tells
	// the node to have one: whether it is to be drained.
	ask(ctx context.Context, id string, drain bool) (lives bool, err error)
	// leave ends a node that has given everything back.
	leave(ctx context.Context, id string) error
	// change reads documents, has f change them, and writes those that it has changed, in
	// one transaction. Nodes whose lease is over are marked as ended before; one
	// that is marked never comes back, and its own changes fail with errEnded.
	// What others want of these is looked at by this, and forgotten.
	change(ctx context.Context, id string, keys []key, f func(v view, docs map[key]*doc) effects) error
	// recalled returns the mailboxes of which others want what the node has, and
	// which it has not looked at since.
	recalled(ctx context.Context, id string) ([]key, error)
	// listen calls told with each notice, and began when it hears them, for what came
	// before. It returns when it no longer can.
	listen(ctx context.Context, began func(), told func(notice string)) error
}

// effects are what becomes of a change beside the documents.
type effects struct {
	// recalls are the nodes that have something of a mailbox which another one
	// wants: they are told to look, and find it by recalled.
	recalls map[key][]string
	// given are those that are told since there is more for them now.
	given map[key][]string
}

// urgent is in front of the ID of a node that is told to have a heartbeat. Behind
// the ID of one that is told to look stand a blank and the mailboxes; if nothing does
// it is to look at all that it waits for.
const urgent = "!"

// notices tell nodes to look, each within that many octets.
func (fx effects) notices(most int) (list []string) {
	of := make(map[string]map[key]bool)
	for _, told := range []map[key][]string{fx.recalls, fx.given} {
		for k, ids := range told {
			for _, id := range ids {
				if of[id] == nil {
					of[id] = make(map[key]bool)
				}
				of[id][k] = true
			}
		}
	}
	for id, keys := range of {
		b := []byte(id)
		for k := range keys {
			raw, err := json.Marshal([2]string{k.Upstream, k.Mailbox})
			if err != nil || len(id)+1+len(raw) > most {
				list = append(list, id)
				continue
			}
			if len(b)+1+len(raw) > most {
				list, b = append(list, string(b)), []byte(id)
			}
			b = append(append(b, ' '), raw...)
		}
		if len(b) > len(id) {
			list = append(list, string(b))
		}
	}
	return list
}

// heed splits a notice. What cannot be read has the node look at everything.
func heed(notice string) (id string, keys []key) {
	id, rest, _ := strings.Cut(notice, " ")
	for dec := json.NewDecoder(strings.NewReader(rest)); ; {
		var k [2]string
		if err := dec.Decode(&k); err != nil {
			if !errors.Is(err, io.EOF) {
				keys = nil
			}
			return id, keys
		}
		keys = append(keys, key{k[0], k[1]})
	}
}

// standing is what a node says of itself to people who look at another one.
type standing struct {
	draining bool
	sessions int64
}

// pulse is the answer to a heartbeat. If it is not alive, the lease has ended.
type pulse struct {
	now   int64
	alive bool
	asked *bool // to be drained, or not to be; nil once it is so
}

// errEnded says that the node's lease had ended: nothing was written.
var errEnded = errors.New("the node's lease has ended")
