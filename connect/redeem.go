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

package connect

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// redeeming has each flow finished once. A browser that asks again before it has the
// answer, by a reload or a second click, still has the flow's cookie; its code is good
// for one request, and a server that sees it twice may take back what it gave for the
// first (RFC 6749 section 4.1.2). What asks again gets the first's outcome.
//
// It is the process's, so that a reload between the two changes nothing. On another node
// the code is what is used up.
var redeeming = flights{of: make(map[[sha256.Size]byte]*flight)}

type flights struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]*flight
}

// flight is a flow that is being finished, or was lately.
type flight struct {
	at   time.Time
	done chan struct{} // closed when end is set
	end  outcome
}

// maxFlights bounds those remembered; beyond it each is finished as often as it is asked.
const maxFlights = 4096

// finish calls f for the first that has the state, and gives the others its outcome. ok is
// false if ctx ends before that.
func (s *flights) finish(ctx context.Context, state string, f func() outcome) (end outcome, ok bool) {
	key, now := sha256.Sum256([]byte(state)), time.Now()
	s.mu.Lock()
	first := s.of[key]
	if first != nil {
		s.mu.Unlock()
		select {
		case <-first.done:
			return first.end, true
		case <-ctx.Done():
			return outcome{}, false
		}
	}
	if len(s.of) >= maxFlights {
		for k, old := range s.of {
			if now.Sub(old.at) > flowTimeout {
				delete(s.of, k)
			}
		}
	}
	mine := &flight{at: now, done: make(chan struct{}), end: outcome{Kind: "failed"}}
	if len(s.of) < maxFlights {
		s.of[key] = mine
	}
	s.mu.Unlock()
	defer close(mine.done)
	mine.end = f()
	return mine.end, true
}
