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

package oauthtoken

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// exitGrace is how long the end of the process waits for records that are not
// stored yet.
const exitGrace = 10 * time.Second

// unsavedAtExit counts the rotated tokens that went with the process.
var unsavedAtExit atomic.Int64

// lastWrites lets refreshes under way end, and then writes what is in memory
// only. It asks no server. It is called when the process exits.
func (m *manager) lastWrites() {
	deadline := time.Now().Add(exitGrace)
	done := make(chan struct{})
	go func() { m.flights.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(exitGrace):
	}
	p := m.current.Load()
	p.records.Rooms.Close()
	for try := 1; ; try++ {
		var left []*entry
		m.entries.each(func(e *entry) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.unsaved != nil {
				left = append(left, e)
			}
		})
		left = slices.DeleteFunc(left, func(e *entry) bool { return p.writeUnsaved(e) == nil })
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, e := range left {
				unsavedAtExit.Add(1)
				p.logger.Error("a rotated refresh token could not be stored and is lost with this process: the mailbox needs consent again",
					zap.String("account", e.subject))
			}
			return
		}
		time.Sleep(authserver.Backoff(100*time.Millisecond, time.Second, try))
	}
}

// writeUnsaved writes a record that the store did not take before.
func (p *served) writeUnsaved(e *entry) error {
	key := tokenstore.StorageKey(p.Name(), e.subject)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := p.records.Store.Lock(ctx, key); err != nil {
		return err
	}
	defer p.unlock(key)
	e.mu.Lock()
	n := e.unsaved
	e.mu.Unlock()
	stored, err := p.records.Load(ctx, key)
	switch {
	case err != nil && authserver.AsError(err, authserver.ClassStore).Class != authserver.ClassDamaged:
		return err
	case stored != nil && stored.Seq >= n.Seq && stored.Failed == nil:
	default:
		if err := p.records.Swap(key, n, seqOf(stored)); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unsaved, e.pending = nil, nil
	return nil
}

// failExit makes the exit of a process that lost a token a failure. Caddy has
// no other way to say so: what Stop of an app returns is only logged. It is a
// hook of the process, which Caddy calls when all apps have stopped and all
// hooks of the configuration have run; what it cuts short is the farewell of
// the admin endpoint.
func failExit(context.Context) {
	if unsavedAtExit.Load() > 0 {
		os.Exit(caddy.ExitCodeFailedQuit)
	}
}
