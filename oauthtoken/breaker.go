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
	"sync"
	"time"
)

const (
	breakerThreshold = 5
	breakerMinOpen   = 5 * time.Second
	breakerMaxOpen   = time.Minute
)

// breaker keeps requests away from a token endpoint that is down: it opens
// on 5xx, time-outs and failed connections in a row, and lets one probe
// through when its time is over. What the endpoint says of one account's
// grant never counts as a failure: it answered.
type breaker struct {
	mu       sync.Mutex
	failures int
	openFor  time.Duration
	until    time.Time
	probing  bool
}

// allow reports whether a request may go out, and if not, for how long. Each
// allowed request needs a report.
func (b *breaker) allow() (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openFor == 0 {
		return 0, true
	}
	if wait := time.Until(b.until); wait > 0 {
		return wait, false
	}
	if b.probing {
		return time.Second, false
	}
	b.probing = true
	return 0, true
}

// report says how an allowed request went. It returns true when this report
// opened the breaker.
func (b *breaker) report(up bool) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if up {
		b.failures, b.openFor = 0, 0
		return false
	}
	b.failures++
	if b.openFor == 0 && b.failures < breakerThreshold {
		return false
	}
	opened = b.openFor == 0
	if opened || time.Now().After(b.until) {
		// Requests that were under way when it opened don't prolong it.
		b.openFor = min(max(2*b.openFor, breakerMinOpen), breakerMaxOpen)
		b.until = time.Now().Add(b.openFor)
	}
	return opened
}

// isOpen reports whether requests are kept away now.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openFor != 0 && time.Now().Before(b.until)
}
