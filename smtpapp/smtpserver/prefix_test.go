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
	"fmt"
	"strings"
	"testing"
)

// TestPrefixes has clients that say all of a session at once and end it at each octet:
// exactly the messages whose end was said are delivered, however the octets come. The
// mark § stands where a message has come to its end.
func TestPrefixes(t *testing.T) {
	const mail = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	for name, script := range map[string]string{
		"DATA":                  login + mail + "DATA\r\nx\r\n..\r\n.\r\n§QUIT\r\n",
		"two":                   login + mail + "DATA\r\n.\r\n§" + mail + "DATA\r\n\r\n.\r\n§NOOP\r\n",
		"chunks":                login + mail + "BDAT 3\r\n.\r\nBDAT 2\r\n\r\nNOOP\r\nBDAT 0 LAST\r\n§QUIT\r\n",
		"a chunk":               login + mail + "BDAT 5 LAST\r\nRSET\r§\nQUIT\r\n",
		"an empty chunk":        login + mail + "BDAT 0 LAST\r\n§" + mail + "BDAT 0 LAST\r\n§QUIT\r\n",
		"RSET between chunks":   login + mail + "BDAT 3\r\nx\r\nRSET\r\n" + mail + "BDAT 3 LAST\r\ny\r\n§QUIT\r\n",
		"EHLO between chunks":   login + mail + "BDAT 3\r\nx\r\nEHLO x\r\n" + mail + "DATA\r\n.\r\n§",
		"MAIL between chunks":   login + mail + "BDAT 3\r\nx\r\n" + mail + "DATA\r\nBDAT 3 LAST\r\ny\r\n§QUIT\r\n",
		"DATA, and chunks":      login + mail + "DATA\r\nBDAT 3 LAST\r\n.\r\n§BDAT 3 LAST\r\ny\r\nQUIT\r\n",
		"MAIL within":           login + mail + mail + "DATA\r\n.\r\n§",
		"RSET within":           login + mail + "RSET\r\n" + mail + "RSET\r\nDATA\r\n" + mail + "DATA\r\n.\r\n§",
		"a refused recipient":   login + "MAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\nBDAT 3 LAST\r\n.\r\n" + mail + "BDAT 3 LAST\r\n.\r\n§",
		"refused, and DATA":     login + "MAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\nDATA\r\n" + mail + "DATA\r\n.\r\n§",
		"not logged in":         "EHLO x\r\n" + mail + "BDAT 15 LAST\r\nMAIL FROM:<a>\r\n" + strings.TrimPrefix(login, "EHLO x\r\n") + mail + "DATA\r\n.\r\n§",
		"a dot, and no end":     login + mail + "DATA\r\n.x\r\n..\r\n\r\n .\r\n.\r\n§DATA\r\n",
		"many recipients":       login + mail + strings.Repeat("RCPT TO:<c@d>\r\n", 150) + "DATA\r\n.\r\n§",
		"a long line":           login + mail + "RCPT TO:<" + strings.Repeat("x", 3000) + "@d>\r\nDATA\r\n.\r\n§",
		"half of a login later": login + mail + "DATA\r\n.\r\n§AUTH PLAIN AHVzZXIAc2VjcmV0\r\n" + mail + "DATA\r\n.\r\n§",
	} {
		for _, flight := range []bool{false, true} {
			if flight && name == "a refused recipient" {
				continue // that is the session's to refuse there
			}
			t.Run(fmt.Sprintf("%s/%v", name, flight), func(t *testing.T) {
				all := strings.ReplaceAll(script, "§", "")
				var ends []int
				for i, part := range strings.SplitAfter(script, "§") {
					if strings.HasSuffix(part, "§") {
						at := len(part) - len("§")
						if i > 0 {
							at += ends[i-1]
						}
						ends = append(ends, at)
					}
				}
				step := max(1, len(all)/400) // of the long ones
				for length := len(all); length >= 0; length -= step {
					want := 0
					for _, at := range ends {
						if at <= length {
							want++
						}
					}
					for _, cut := range []int{1, 7, 1 << 20} {
						s := &recorder{cfg: tolerantConfig()}
						s.cfg.OneFlight = flight
						codes, _ := talk(s, cut, all[:length])
						if len(s.bodies) != want {
							t.Fatalf("%d messages of %d octets, %d at a time, want %d: %q, %s", len(s.bodies), length, cut, want, all[:length], codes)
						}
					}
				}
			})
		}
	}
}
