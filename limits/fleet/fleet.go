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

// Package fleet says what the nodes that share limits know of each other. It is
// one file.
package fleet

import (
	"errors"
	"time"
)

// Node is a process among those that share limits.
type Node struct {
	Name string `json:"name"`
	// ID is another one after each start.
	ID    string    `json:"id"`
	Since time.Time `json:"since"`
	// Until is when it may be taken for dead, unless it says something before.
	Until time.Time `json:"until"`
	// Ended reports whether it is gone.
	Ended bool `json:"ended"`
	// Self reports whether it is the one that was asked.
	Self bool `json:"self"`
	// Mailboxes is the number of mailboxes of which it holds something.
	Mailboxes int64 `json:"mailboxes"`
	// Draining reports whether it gives back what it holds.
	Draining bool `json:"draining"`
	// Sessions is the number of its clients' sessions at its last heartbeat.
	Sessions int64 `json:"sessions"`
	// Asked is what it was asked to do and has not done yet: drain or resume.
	Asked string `json:"asked,omitempty"`
}

// Front is the clients' side of a node.
type Front interface {
	// HandOn sends clients to other nodes, or ends that.
	HandOn(on bool)
	// SessionCount is the number of clients' sessions.
	SessionCount() int
}

// ErrNoNode says that no node that lives has the ID.
var ErrNoNode = errors.New("no living node has this ID")
