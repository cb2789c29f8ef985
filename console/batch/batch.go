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

// Package batch makes invitations of many accounts, whose links an operator saves. What is
// under way and what came of it belongs to the process: a reload ends none.
package batch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/connect/mailing"
)

const (
	// Max bounds the invitations that are made at a time, most what is kept of
	// them: some megabytes.
	Max     = 10_000
	most    = 4
	timeout = 30 * time.Minute
	kept    = 30 * time.Minute
	// shownFailures bounds the lines in error that a page names.
	shownFailures = 100
)

// Reasons for which no batch is begun.
var (
	ErrBusy = errors.New("invitations are being made already: wait until they are done")
	ErrMany = errors.New("many lists of invitations were made in the last half hour: wait, or use the command line")
)

// Batch is invitations under way, or what came of them. The links are here alone, and
// only for who had them made.
type Batch struct {
	ID, by string
	began  time.Time
	total  int

	mu       sync.Mutex
	made     []connect.Invited
	failed   int
	failures []string
	done     bool
}

// View is a batch as a page shows it.
type View struct {
	ID                  string
	Made, Failed, Total int
	Failures            []string
	Done                bool
}

// batches are those of the process.
var batches = struct {
	sync.Mutex
	byID map[string]*Batch
}{byID: make(map[string]*Batch)}

func keep(b *Batch) error {
	batches.Lock()
	defer batches.Unlock()
	for id, old := range batches.byID {
		if !old.View().Done {
			return ErrBusy
		}
		if time.Since(old.began) > kept {
			delete(batches.byID, id)
		}
	}
	if len(batches.byID) >= most {
		return ErrMany
	}
	batches.byID[b.ID] = b
	return nil
}

// Start begins to make the invitations, whose links are for `by` alone.
func Start(by string, list []mailing.Row) (*Batch, error) {
	b := &Batch{ID: rand.Text(), by: by, began: time.Now(), total: len(list)}
	if err := keep(b); err != nil {
		return nil, err
	}
	go b.run(list)
	return b, nil
}

// Of returns a batch for who had it made; nil: there is none.
func Of(id, by string) *Batch {
	batches.Lock()
	defer batches.Unlock()
	if b := batches.byID[id]; b != nil && b.by == by && time.Since(b.began) <= timeout+kept {
		return b
	}
	return nil
}

// run makes them, one after the other. One that fails does not stop the others.
func (b *Batch) run(list []mailing.Row) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, req := range list {
		invited, err := connect.Invite(ctx, req.Request)
		b.mu.Lock()
		if err == nil {
			b.made = append(b.made, invited)
		} else if b.failed++; len(b.failures) < shownFailures {
			b.failures = append(b.failures, fmt.Sprintf("%s: %v", req.Account, err))
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.done = true
	b.mu.Unlock()
}

// View is how far it is.
func (b *Batch) View() View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return View{b.ID, len(b.made), b.failed, b.total, append([]string{}, b.failures...), b.done}
}

// Made are the invitations with their links, once all are made.
func (b *Batch) Made() (made []connect.Invited, done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.made, b.done
}
