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

package e2e

import (
	"fmt"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestTokenRefused: a token that the provider refuses leads to exactly one
// refresh and one more login; if that is refused too, to no further.
func TestTokenRefused(t *testing.T) {
	for _, tc := range []struct {
		profile, mechanism string
	}{
		{"generic", "xoauth2"}, {"google", "xoauth2"}, {"microsoft", "xoauth2"}, {"generic", "oauthbearer"}, {"google", "oauthbearer"},
	} {
		t.Run(tc.profile+" "+tc.mechanism, func(t *testing.T) {
			setup := []option{
				withSandbox(func(sb *sandbox.App) { sb.Profile, sb.TokenSize = tc.profile, 2000 }),
				withUpstream("auth", object{"mechanism": tc.mechanism, "provider": "sandbox"}),
			}
			t.Run("once", func(t *testing.T) {
				w := newWorld(t, setup...)
				if rep := w.login().send("one\r\n"); rep.code != 250 {
					t.Fatalf("final reply %q", rep)
				}
				// The provider forgets the token, and the connection ends.
				if n := w.sandbox.ExpireTokens(testUser); n != 1 {
					t.Fatalf("%d tokens, want 1", n)
				}
				w.sandbox.DropConns(false)
				if rep := w.login().send("two\r\n"); rep.code != 250 {
					t.Fatalf("final reply %q", rep)
				}
				ms := w.sandbox.Mailbox(testUser)
				if posts := w.sandbox.TokenPosts(testUser); posts != 2 || ms.AuthFailed != 1 || ms.AuthOK != 2 || ms.Messages != 2 {
					t.Errorf("%d token requests, %d logins refused, %d let in, %d messages; want 2, 1, 2, 2", posts, ms.AuthFailed, ms.AuthOK, ms.Messages)
				}
				if st := w.sandbox.Stats(); st.Auth["malformed"]+st.Auth["cancelled"]+st.Auth["too_long"] != 0 {
					t.Errorf("logins: %v", st.Auth)
				}
			})
			t.Run("for good", func(t *testing.T) {
				w := newWorld(t, setup...)
				if _, err := w.sandbox.AddFault(sandbox.Fault{Stage: "auth", Action: "reply", Reply: "535 5.7.8 No"}); err != nil {
					t.Fatal(err)
				}
				c := w.login()
				c.cmd("MAIL FROM:<"+testUser+">", 250)
				for i := range 3 {
					if rep := c.cmd(fmt.Sprintf("RCPT TO:<r%d@example.net>", i), 454); i == 0 && rep.lines[0][:5] != "4.7.0" {
						t.Errorf("reply %q", rep)
					}
				}
				w.close()
				ms := w.sandbox.Mailbox(testUser)
				if posts := w.sandbox.TokenPosts(testUser); posts != 2 || ms.AuthFailed != 2 {
					t.Errorf("%d token requests, %d logins; want 2 and 2", posts, ms.AuthFailed)
				}
			})
		})
	}
}
