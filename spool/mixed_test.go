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

package spool

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// TestMixedRecipients sends to recipients whose answers differ, and change from one attempt
// to the next: each gets it once or is reported once, and nobody is asked again who has an
// answer.
func TestMixedRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := make(map[string]int)
		answers := map[string][]*relay.Reply{
			"good@example.org": {nil},
			"late@example.org": {mailboxBusy, mailboxBusy, nil},
			"gone@example.org": {mailboxBusy, noSuchUser},
			"none@example.org": {noSuchUser},
			"away@example.org": {mailboxBusy},
		}
		p := &choosy{got: make(map[string]int)}
		p.set(func(rcpt string) *relay.Reply {
			mu.Lock()
			defer mu.Unlock()
			list := answers[rcpt]
			if list == nil {
				return nil // of a report
			}
			n := asked[rcpt]
			asked[rcpt]++
			return list[min(n, len(list)-1)]
		})
		tr := start(t, newMemFS(), nil, func(tr *Transport) { tr.next = p })
		defer stop(tr)
		id := sendTo(t, tr, "good@example.org", "late@example.org", "gone@example.org", "none@example.org", "away@example.org")
		synctest.Wait()
		m, err := Get(id)
		if err != nil {
			t.Fatal(err)
		}
		var states []string
		for _, r := range m.Recipients {
			states = append(states, r.State)
		}
		if got := strings.Join(states, " "); got != "sent waiting waiting refused waiting" {
			t.Errorf("after the first attempt: %s", got)
		}
		time.Sleep(30 * time.Hour)
		synctest.Wait()
		if left := Messages("", ""); len(left) > 0 {
			t.Errorf("kept: %+v", left)
		}
		for rcpt, want := range map[string][2]int{
			"good@example.org": {1, 1}, "late@example.org": {1, 3}, "gone@example.org": {0, 2}, "none@example.org": {0, 1}, "away@example.org": {0, asked["away@example.org"]},
		} {
			if p.count(rcpt) != want[0] || asked[rcpt] != want[1] {
				t.Errorf("%s got it %d times and was asked for %d times, want %v", rcpt, p.count(rcpt), asked[rcpt], want)
			}
		}
		if n := p.count("from@example.com"); n != 3 {
			t.Errorf("%d reports, want one when each is known", n)
		}
	})
}
