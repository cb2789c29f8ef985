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

package authority

import (
	"testing"
	"time"
)

// host is a sandbox of which nothing but settings is asked.
type host struct {
	Host
	set Settings
}

func (h host) Settings() Settings { return h.set }

// TestMemoryIsBounded checks that neither refresh tokens nor access tokens are kept
// for ever.
func TestMemoryIsBounded(t *testing.T) {
	s := New(host{set: Settings{Microsoft: true, TokenLifetime: time.Hour}})
	for range 2 * maxFamily {
		if _, next, problem := s.redeem(s.host.Settings(), "rt-a@example.com", "c"); next == "" || problem != "" {
			t.Fatal(next, problem)
		}
	}
	if n := len(s.refresh); n > maxFamily+1 {
		t.Errorf("%d refresh tokens in memory", n)
	}
	tok := s.Issue("a@example.com", "c", "")
	s.sweepAt = 1
	s.access[tok].expires = time.Now().Add(-2 * time.Minute)
	s.Issue("a@example.com", "c", "")
	if len(s.access) != 1 {
		t.Errorf("%d tokens after the sweep", len(s.access))
	}
}
