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

package smtpserver

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// TestWhole holds which messages go to the session with their recipient: those
// whose client has sent all of it, and no other. Whatever the network cuts, the
// answers are the same.
func TestWhole(t *testing.T) {
	const mail, rcpt, quit = "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n", "QUIT\r\n"
	big := strings.Repeat("0123456789abcd\r\n", maxWhole/16+1)
	no := relay.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")
	for name, tc := range map[string]struct {
		in     string
		refuse error
		wholes int // if all of it is there at once
		codes  string
		bodies []string
		result Result
	}{
		"whole": {mail + rcpt + "BDAT 3 LAST\r\nx\r\n", nil, 1, "250 250 250", []string{"x\r\n"}, Result{Data: true, Size: 3, Tried: 1, Accepted: 1}},
		"empty": {mail + rcpt + "bdat 0 last\r\n", nil, 1, "250 250 250", []string{""}, Result{Data: true, Tried: 1, Accepted: 1}},
		"the next behind it": {
			mail + rcpt + "BDAT 3 LAST\r\nx\r\n" + mail + rcpt + "BDAT 3 LAST\r\ny\r\n", nil, 2,
			"250 250 250 250 250 250", []string{"x\r\n", "y\r\n"}, Result{Data: true, Size: 3, Tried: 1, Accepted: 1},
		},
		"refused": {
			mail + rcpt + "BDAT 3 LAST\r\nx\r\n" + "NOOP\r\n", no, 1, "250 550 503 250", nil,
			Result{Tried: 1, LastRefusal: no},
		},
		"refused, what is in the chunk is no command": {
			mail + rcpt + "BDAT 6 LAST\r\nQUIT\r\n" + "RSET\r\n", no, 1, "250 550 503 250", nil,
			Result{Tried: 1, LastRefusal: no},
		},
		"two recipients": {mail + rcpt + rcpt + "BDAT 3 LAST\r\nx\r\n", nil, 0, "250 250 250 250", []string{"x\r\n"}, Result{Data: true, Size: 3, Tried: 2, Accepted: 2}},
		"not the last chunk": {
			mail + rcpt + "BDAT 3\r\nx\r\nBDAT 0 LAST\r\n", nil, 0, "250 250 250 250", []string{"x\r\n"},
			Result{Data: true, Size: 3, Tried: 1, Accepted: 1},
		},
		"too large to wait for": {
			mail + rcpt + "BDAT " + strconv.Itoa(len(big)) + " LAST\r\n" + big, nil, 0, "250 250 250", []string{big},
			Result{Data: true, Size: int64(len(big)), Tried: 1, Accepted: 1},
		},
		"DATA": {mail + rcpt + "DATA\r\nx\r\n.\r\n", nil, 0, "250 250 354 250", []string{"x\r\n"}, Result{Data: true, Size: 3, Tried: 1, Accepted: 1}},
		"a flaw": {
			mail + rcpt + "BDAT 3 LAST\r\nx\x00y", nil, 1, "250 250 554", nil,
			Result{Data: true, Size: 0, Tried: 1, Accepted: 1},
		},
	} {
		for _, cut := range []int{1 << 20, 7, 1} {
			if cut < 1<<20 && len(tc.in) > 1<<16 {
				continue
			}
			cfg := testConfig()
			cfg.OneFlight = true
			s := &recorder{cfg: cfg, refusing: tc.refuse}
			in := login + tc.in
			if !strings.Contains(tc.codes, "554") {
				in += quit
			}
			codes, _ := talk(s, cut, in)
			want := "250 235 " + tc.codes
			if in != login+tc.in {
				want += " 221"
			}
			if cut < 1<<20 && s.refusing != nil {
				continue // the recorder refuses whole messages alone
			}
			if codes != want {
				t.Errorf("%s, cut at %d: answered %s, want %s", name, cut, codes, want)
			}
			if cut == 1<<20 && s.wholes != tc.wholes {
				t.Errorf("%s: %d messages went as a whole, want %d", name, s.wholes, tc.wholes)
			}
			if !slices.Equal(s.bodies, tc.bodies) {
				t.Errorf("%s, cut at %d: taken %q, want %q", name, cut, s.bodies, tc.bodies)
			}
			got := s.results[len(s.results)-1]
			got.Reply = nil
			if s.bodies == nil {
				got.Size = 0 // as far as it was read
			}
			if got != tc.result {
				t.Errorf("%s, cut at %d: result %+v, want %+v", name, cut, got, tc.result)
			}
		}
	}
}
