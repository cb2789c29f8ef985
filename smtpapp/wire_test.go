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

import (
	"testing"
)

func TestSendMessage(t *testing.T) {
	s := startServer(t, nil)
	c := dial(t, s.addr)
	c.play(`
		LOGIN
		C: MAIL FROM:<a@example.com> BODY=8BITMIME
		M: 250 2
		C: RCPT TO:<b@example.org>
		M: 250 2
		C: DATA
		M: 354
		C: Subject: test
		C:
		C: ..dot
		C: .
		S: 250 2.0.0 OK 12345 provider
		C: QUIT
		M: 221 2.0.0
		EOF
	`)
	got := s.up.taken()
	if len(got) != 1 {
		t.Fatalf("got %d messages, want 1", len(got))
	}
	m := got[0]
	if m.account != testUser || m.from != "a@example.com" || len(m.to) != 1 || m.to[0] != "b@example.org" {
		t.Errorf("envelope %+v", m)
	}
	if want := "Subject: test\r\n\r\n.dot\r\n"; string(m.body) != want {
		t.Errorf("body %q, want %q", m.body, want)
	}
}

func TestSendChunks(t *testing.T) {
	s := startServer(t, nil)
	dial(t, s.addr).play(`
		LOGIN
		C: MAIL FROM:<a@example.com>
		M: 250 2
		C: RCPT TO:<b@example.org>
		M: 250 2
		C: BDAT 7
		Q: "Hello\r\n"
		M: 250 2.0.0
		C: BDAT 9
		Q: "World\r\n.\r"
		M: 250 2.0.0
		C: BDAT 1
		Q: "\n"
		M: 250 2.0.0
		C: BDAT 0 LAST
		S: 250 2.0.0 OK 12345 provider
		C: QUIT
		M: 221 2.0.0
		EOF
	`)
	got := s.up.taken()
	if len(got) != 1 || string(got[0].body) != "Hello\r\nWorld\r\n.\r\n" {
		t.Fatalf("got %+v", got)
	}
}
