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
	"strings"
	"testing"
)

// TestEndlessRecipients holds that a list which is far too long is answered to its end,
// and that there is an end.
func TestEndlessRecipients(t *testing.T) {
	begin := login + "MAIL FROM:<a@example.com>\r\n" // 250 235 250
	const rcpt, message = "RCPT TO:<b@example.org>\r\n", "DATA\r\nhello\r\n.\r\n"
	for _, c := range []struct {
		named   int // beyond the two that are taken
		refused int
		end     End
		bodies  int
	}{
		{1000, 1000, EndQuit, 1},
		{1000 + maxJunk - 1, 1000 + maxJunk - 1, EndQuit, 1},
		{20_000, 1000 + maxJunk - 1, EndErrors, 0}, // the hello is one too
	} {
		s := &recorder{cfg: tolerantConfig()}
		s.cfg.MaxRecipients = 2
		codes, end := talk(s, 4096, begin+strings.Repeat(rcpt, 2+c.named)+message+"QUIT\r\n")
		if n := strings.Count(codes, "452"); n != c.refused || end != c.end || len(s.bodies) != c.bodies {
			t.Errorf("%d: %d refused, %s, %d messages, %v", c.named, n, end, len(s.bodies), s.causes()[len(s.refusals)-1])
		}
	}
}
