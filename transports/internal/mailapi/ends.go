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

package mailapi

import (
	"context"
	"errors"
)

// errLeaseEnded is why a request is given up that other nodes' may take the
// place of.
var errLeaseEnded = errors.New("the lease of the limits has ended")

// request returns the context of a request of the place, which ends with the
// request, or when other nodes may use all of the mailbox's connections. What
// the provider has by then it may still take: that counts as any request without
// an answer does.
func (p *place) request(ctx context.Context) (_ context.Context, over func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.seat.requests[p] = cancel
	return ctx, func() {
		p.l.mu.Lock()
		defer p.l.mu.Unlock()
		delete(p.seat.requests, p)
		cancel(nil)
	}
}

// cut gives up all requests of a seat.
func (l *ledger) cut(s *seat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cancel := range s.requests {
		cancel(errLeaseEnded)
	}
}
