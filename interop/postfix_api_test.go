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

package interop

import (
	"fmt"
	"net/smtp"
	"slices"
	"strings"
	"testing"
)

// TestPostfixGraph has Postfix in front of a mailbox that sends through Microsoft
// Graph, which delivers to the addresses in the header.
func TestPostfixGraph(t *testing.T) { postfixAPI(t, "graph") }

// TestPostfixGmail is the same through the Gmail API.
func TestPostfixGmail(t *testing.T) {
	postfixAPI(t, "gmail", "userinfo_url http://{sandbox.http}/userinfo")
}

// postfixAPI holds that a message that arrives as a whole reaches each recipient
// once. One that Postfix splits, by domain here, is refused in all of its parts,
// since each would reach everybody; with `rewrite` each recipient gets it once.
func postfixAPI(t *testing.T, kind string, options ...string) {
	t.Helper()
	need(t, "postfix")
	const login = "postfix@example.com"
	mailbox := mailboxOf(login)
	rcpts := []string{"to@example.net", "cc@example.org", "blind@example.com"}
	msg := fmt.Sprintf("From: %s\r\nTo: %s\r\nCc: %s\r\nSubject: split\r\nMessage-ID: <split@example.com>\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\n\r\nhello\r\n", mailbox, rcpts[0], rcpts[1])
	for _, tc := range []struct {
		name           string
		split, rewrite bool
		messages       int
	}{
		{"whole", false, false, 1},
		{"split", true, false, 0},
		{"split and rewritten", true, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := append([]string{"transport " + kind + " sandbox {", "endpoint http://{sandbox.http}"}, options...)
			if tc.rewrite {
				lines = append(lines, "rewrite")
			}
			g := startGateway(t, gatewayOptions{upstream: strings.Join(append(lines, "}"), "\n")}, login)
			var more []string
			if tc.split {
				// The same gateway by two transports of Postfix: two messages.
				more = append(more, "transport_maps = inline:{ example.net=relay:[localhost]:"+port(g.starttls)+" }")
			}
			p, addr := startPostfix(t, g, login, more...)
			if err := smtp.SendMail(addr, nil, mailbox, rcpts, []byte(msg)); err != nil {
				t.Fatal(err)
			}
			states := make(map[string]string)
			p.waitOutputFunc("a result of each recipient", func(s string) bool {
				for _, d := range postfixDelivery.FindAllStringSubmatch(s, -1) {
					if slices.Contains(rcpts, d[2]) {
						states[d[2]] = d[4] + " " + d[3] + " " + d[5]
					}
				}
				return len(states) == len(rcpts)
			})
			want := "sent 2.0.0 250 2.0.0 OK "
			if tc.messages == 0 {
				want = "bounced 5.6.0 "
			}
			for rcpt, state := range states {
				if !strings.HasPrefix(state, want) {
					t.Errorf("%s: %s, want %s", rcpt, state, want)
				}
			}
			times := make(map[string]int)
			messages := g.sandbox.messages(mailbox)
			for _, m := range messages {
				for _, r := range m.Rcpts {
					times[r]++
				}
			}
			if len(messages) != tc.messages {
				t.Errorf("%d messages at the provider, want %d", len(messages), tc.messages)
			}
			for _, r := range rcpts {
				if once := min(tc.messages, 1); times[r] != once {
					t.Errorf("%s has it %d times, want %d", r, times[r], once)
				}
			}
			if len(times) > len(rcpts) {
				t.Errorf("delivered to others: %v", times)
			}
		})
	}
}
