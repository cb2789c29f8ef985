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

package ldap

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// pace remembers how long the last answers took.
type pace struct {
	mu   sync.Mutex
	took []time.Duration
	next int
}

// paceSize is how many.
const paceSize = 64

func (p *pace) add(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.took) < paceSize {
		p.took = append(p.took, d)
		return
	}
	p.took[p.next] = d
	p.next = (p.next + 1) % paceSize
}

// one returns one of them, if there are any.
func (p *pace) one() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.took) == 0 {
		return 0, false
	}
	return p.took[rand.IntN(len(p.took))], true //nolint:gosec // not a secret
}

// linger lasts, from a beginning on, as long as a refused password of somebody does: a
// directory computes a hash for that, which may take longer than all the rest.
func (c *checker) linger(ctx context.Context, began time.Time) {
	d, ok := c.refusals.one()
	if !ok {
		d, _ = c.rights.one()
	}
	if d -= time.Since(began); d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
