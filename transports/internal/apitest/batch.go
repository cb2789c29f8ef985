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

package apitest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
)

// together sends numbered messages of several mailboxes at the same time, and
// returns the replies.
func together(t *testing.T, api API, boxes, messages int) []string {
	t.Helper()
	said := make([]string, messages)
	var wg sync.WaitGroup
	for i := range messages {
		wg.Go(func() {
			box := fmt.Sprintf("box%d@example.com", i%boxes)
			a := &accounts.Account{Record: accounts.Record{Name: box, Mailbox: box}}
			msg := fmt.Sprintf("From: %s\r\nTo: a@example.org\r\nSubject: %d\r\n\r\nhello\r\n", box, i)
			reply, _, err := relay.SendInTurn(t.Context(), api, a, box, nil, relay.Recipient{To: "a@example.org"}, strings.NewReader(msg))
			if said[i] = reply.Error(); err != nil {
				said[i] = err.Error()
			}
		})
	}
	wg.Wait()
	return said
}

// delivered is how often each message is there, by its number.
func delivered(sb *sandbox.Sandbox, messages int) []int {
	times := make([]int, messages)
	for _, m := range sb.Messages() {
		for i := range times {
			if strings.Contains(string(m.Body), fmt.Sprintf("\r\nSubject: %d\r\n", i)) {
				times[i]++
			}
		}
	}
	return times
}

// Revoked holds that access tokens which end all the time, amid messages of several
// mailboxes, cost none of them and double none: each is taken once, or is told to
// come again and was not taken.
func Revoked(t *testing.T, sb *sandbox.Sandbox, api API) {
	t.Helper()
	const boxes, messages = 5, 100
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
				for i := range boxes {
					sb.ExpireTokens(fmt.Sprintf("box%d@example.com", i))
				}
			}
		}
	})
	said := together(t, api, boxes, messages)
	close(over)
	wg.Wait()
	taken, refused := 0, 0
	for i, n := range delivered(sb, messages) {
		switch {
		case strings.HasPrefix(said[i], "250 ") && n == 1:
			taken++
		case strings.HasPrefix(said[i], "454 4.7.0") && n == 0:
			refused++
		default:
			t.Errorf("message %d: %s, and it is there %d times", i, said[i], n)
		}
	}
	t.Logf("%d taken, %d to come again", taken, refused)
	// Without new tokens all of them get through.
	for i, reply := range together(t, api, boxes, messages) {
		if !strings.HasPrefix(reply, "250 ") {
			t.Errorf("message %d afterwards: %s", i, reply)
		}
	}
}

// Storm holds that a provider that refuses everything for a time hears of a mailbox
// as many requests as were under way together, and that nothing is lost or doubled
// by clients that come again.
func Storm(t *testing.T, sb *sandbox.Sandbox, api API, refusal string, places int) {
	t.Helper()
	const messages = 40
	id, err := sb.AddFault(sandbox.Fault{Stage: "api", Action: "reply", Reply: refusal, RetryAfter: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, reply := range together(t, api, 1, messages) {
		if !strings.HasPrefix(reply, "451 4.") {
			t.Errorf("message %d in the storm: %s", i, reply)
		}
	}
	hits := 0
	for _, f := range sb.Faults() {
		if f.ID == id {
			hits = f.Hits
		}
	}
	// One more for each second that the storm took.
	if hits < 1 || hits > places*(1+messages/10) {
		t.Errorf("%d requests of %d messages", hits, messages)
	}
	sb.RemoveFault(id)
	taken := make([]bool, messages)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		all := true
		for i := range taken {
			if taken[i] {
				continue
			}
			box := "box0@example.com"
			a := &accounts.Account{Record: accounts.Record{Name: box, Mailbox: box}}
			msg := fmt.Sprintf("From: %s\r\nTo: a@example.org\r\nSubject: %d\r\n\r\nhello\r\n", box, i)
			_, _, err := relay.SendInTurn(t.Context(), api, a, box, nil, relay.Recipient{To: "a@example.org"}, strings.NewReader(msg))
			taken[i] = err == nil
			all = all && taken[i]
		}
		if all {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not all messages get through behind the storm")
		}
	}
	for i, n := range delivered(sb, messages) {
		if n != 1 {
			t.Errorf("message %d is there %d times", i, n)
		}
	}
}

// Weather holds that a storm over one mailbox is that mailbox's: all of its accounts
// together make no more requests than it has places, whichever of them the provider
// answered, and another mailbox of the same app goes on. What may have been sent is
// asked about once.
func Weather(t *testing.T, sb *sandbox.Sandbox, api API, throttled string, places int) {
	t.Helper()
	const each = 12
	storms := map[string]sandbox.Fault{
		"throttled@example.com": {Stage: "api", Action: "reply", Reply: throttled, RetryAfter: 60},
		"busy@example.com":      {Stage: "api", Action: "reply", Reply: "503 <html></html>"},
		"lost@example.com":      {Stage: "api_end", Action: "reply", Reply: "504 <html></html>"},
		"reset@example.com":     {Stage: "api_end", Action: "reset"},
		"well@example.com":      {},
	}
	for box, f := range storms {
		if f.Mailbox = box; f.Stage == "" {
			continue
		}
		if _, err := sb.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	said := make(map[string][]string) // of each mailbox
	send := func(box string, i int) {
		// Three accounts of one mailbox, which they write as they like.
		mailbox := []string{box, strings.ToUpper(box[:1]) + box[1:], strings.ToUpper(box)}[i%3]
		a := &accounts.Account{Record: accounts.Record{Name: fmt.Sprintf("account%d-%s", i%3, box), Mailbox: mailbox}}
		msg := fmt.Sprintf("From: %s\r\nTo: a@example.org\r\nSubject: %d\r\n\r\nhello\r\n", box, i)
		reply, _, err := relay.SendInTurn(t.Context(), api, a, box, nil, relay.Recipient{To: "a@example.org"}, strings.NewReader(msg))
		text := reply.Error()
		if err != nil {
			text = err.Error()
		}
		mu.Lock()
		said[box] = append(said[box], text)
		mu.Unlock()
	}
	var wg sync.WaitGroup
	for i := range each {
		for box := range storms {
			wg.Go(func() { send(box, i) })
		}
	}
	wg.Wait()
	hits := make(map[string]int)
	for _, f := range sb.Faults() {
		hits[f.Mailbox] = f.Hits
	}
	there := make(map[string]int)
	for _, m := range sb.Messages() {
		there[strings.ToLower(m.Mailbox)]++
	}
	for box, f := range storms {
		unknown, acked := 0, 0
		for _, text := range said[box] {
			switch {
			case strings.HasPrefix(text, "250 "):
				acked++
			case strings.HasPrefix(text, "451 4.4.2"):
				unknown++
			case !strings.HasPrefix(text, "451 4."):
				t.Errorf("%s: %s", box, text)
			}
		}
		n := hits[box]
		switch {
		case f.Stage == "":
			if acked != each || there[box] != each {
				t.Errorf("%s: %d of %d acknowledged, %d are there: %q", box, acked, each, there[box], said[box])
			}
		case acked > 0 || n < 1 || n > places:
			t.Errorf("%s: %d requests of %d messages, %d acknowledged", box, n, each, acked)
		case box == "throttled@example.com":
			if unknown > 0 || there[box] > 0 {
				t.Errorf("%s: %d unknown, %d are there", box, unknown, there[box])
			}
		case unknown != n || there[box] != map[bool]int{true: n}[f.Stage == "api_end"]:
			t.Errorf("%s: %d requests, %d unknown, %d are there", box, n, unknown, there[box])
		}
	}
}
