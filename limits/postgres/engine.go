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
	"errors"
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
	// change reads documents, has f change them, and writes them, in one
	// transaction. Nodes whose lease is over are marked as ended before; one
	// that is marked never comes back, and its own changes fail with errEnded.
	// The nodes that f returns are told to look, and those of recalls find
	// the key by recalled.
	change(ctx context.Context, id string, keys []key, f func(v view, docs map[key]*doc) (recalls map[key][]string, tell []string)) error
	// recalled returns, once, the mailboxes of which others want what the
	// node has.
	recalled(ctx context.Context, id string) ([]key, error)
	// listen calls told with each node that is told to look, or, behind urgent, to
	// have a heartbeat; and began when it
	// hears that, for what came before. It returns when it no longer can.
	listen(ctx context.Context, began func(), told func(id string)) error
}

// urgent is in front of the ID of a node that is told to have a heartbeat.
const urgent = "!"

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
