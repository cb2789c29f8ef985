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

package smtpapp

import "testing"

// TestChangedBehindMail changes an account, and the configuration, between MAIL and
// what follows: the message leaves with the record, and through the upstream, of now.
// One that a session remembers would bring old credentials and limits back.
func TestChangedBehindMail(t *testing.T) {
	const mail = "C: MAIL FROM:<a@example.com>\nM: 250\n"
	for name, tc := range map[string]struct {
		deferred      bool
		before, after string
	}{
		"in turn":     {false, mail, "C: RCPT TO:<b@example.org>\nM: 250\nC: DATA\nM: 354\nC: .\nM: 250"},
		"all at once": {false, mail, "C: RCPT TO:<b@example.org>\nC: BDAT 0 LAST\nM: 250\nM: 250"},
		"deferred":    {true, mail, "C: RCPT TO:<b@example.org>\nM: 250\nC: DATA\nM: 354\nC: .\nM: 250"},
		"deferred, behind RCPT": {true, mail + "C: RCPT TO:<b@example.org>\nM: 250\n",
			"C: DATA\nM: 354\nC: .\nM: 250"},
	} {
		for _, reload := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				old, now := singleUpstream{new(fakeUpstream)}, singleUpstream{new(fakeUpstream)}
				s := startServerWith(t, old, func(p *policy) { p.OneFlight, p.deferred = true, tc.deferred })
				c := dial(t, s.addr)
				c.login()
				c.play(tc.before)
				r := testRecord(testUser)
				r.Secret, r.Upstream = "new", "other"
				s.source.index.Set(mustCompile(t, r))
				if reload {
					p := testPolicy()
					p.OneFlight, p.deferred = true, tc.deferred
					s.point.attach(newTestGeneration(t, now, s.source, p))
				} else {
					now = old
				}
				c.play(tc.after)
				sent := now.taken()
				if len(sent) != 1 || sent[0].record.Secret != "new" || sent[0].record.Upstream != "other" {
					t.Errorf("reload %v: sent %+v", reload, sent)
				}
				if reload && len(old.taken()) > 0 {
					t.Error("sent through the upstream of before")
				}
			})
		}
	}
}
