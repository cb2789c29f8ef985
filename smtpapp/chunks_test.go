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
	"strings"
	"testing"
)

// TestChunksAreNeverCommands has BDAT commands that are wrong in each way there is,
// with octets behind them that look like commands. Where their number is certain they
// are dropped, elsewhere the connection closes: none of them is ever obeyed.
func TestChunksAreNeverCommands(t *testing.T) {
	const inside = "MAIL FROM:<evil@example.com>\r\nQUIT\r\n"
	long := "BDAT 5" + strings.Repeat(" ", 3000) + "LAST"
	closed := map[string]string{ // what is answered, and then the connection closes
		"BDAT":                       "501 5.5.4",
		"BDAT -5":                    "501 5.5.4",
		"BDAT +5 LAST":               "501 5.5.4",
		"BDAT 0x5 LAST":              "501 5.5.4",
		"BDAT 5.0":                   "501 5.5.4",
		"BDAT 5,LAST":                "501 5.5.4",
		"BDAT 5 LAST x":              "501 5.5.4",
		"BDAT 5 FIRST":               "501 5.5.4",
		"BDAT5 LAST":                 "501 5.5.4",
		"BDATA 5 LAST":               "501 5.5.4",
		"bdat:5":                     "501 5.5.4",
		"BDAT 5\x00":                 "501 5.5.4",
		"\x00BDAT 5 LAST":            "501 5.5.4",
		"BDAT\x005 LAST":             "501 5.5.4",
		"BDAT 5\x01 LAST":            "501 5.5.4",
		"BDAT 100000000000000000000": "501 5.5.4", // RFC 3030: at most 20 digits
		"BDAT 9223372036854775807":   "552 5.3.4",
		"BDAT 9223372036854775808":   "552 5.3.4",
		"BDAT 18446744073709551616":  "552 5.3.4",
		"BDAT 99999999999999999999":  "552 5.3.4",
		"BDAT 4000000 LAST":          "552 5.3.4", // far beyond the limit of 1 MiB
		long:                         "500 5.5.6",
	}
	whole := []string{"BDAT 36 LAST", "bdat 36 last", "BDAT\t36 LAST", " BDAT 36 LAST", "BDAT  36  LAST ", "BDAT 036 LAST"}
	before := map[string]string{
		"no transaction": "", "no recipient": "C: MAIL FROM:<a@example.com>\nM: 250",
		"first": "C: MAIL FROM:<a@example.com>\nM: 250\nC: RCPT TO:<b@example.org>\nM: 250",
		"next":  "C: MAIL FROM:<a@example.com>\nM: 250\nC: RCPT TO:<b@example.org>\nM: 250\nC: BDAT 3\nQ: \"x\\r\\n\"\nM: 250",
	}
	for _, strict := range []bool{false, true} {
		for when, script := range before {
			name := when
			if strict {
				name = "strict/" + when
			}
			s := startServer(t, func(p *policy) { p.Strict = strict })
			begin := func(t *testing.T) *client {
				c := dial(t, s.addr)
				c.login()
				c.play(script)
				return c
			}
			for command, want := range closed {
				t.Run(name+"/"+command[:min(len(command), 30)], func(t *testing.T) {
					c := begin(t)
					c.send(command + "\r\n" + inside)
					c.expect(want)
					c.expectEOF()
				})
			}
			for _, command := range whole {
				t.Run(name+"/"+command, func(t *testing.T) {
					taken := len(s.up.taken())
					c := begin(t)
					c.send(command + "\r\n" + inside + "NOOP\r\n")
					line, err := c.line()
					switch {
					case err != nil:
						t.Fatal(err)
					case strict && strings.HasPrefix(line, "501"):
						c.expectEOF()
					case when == "first", when == "next":
						c.expect("250 2.0.0 OK")
						got := s.up.taken()[taken:]
						if len(got) != 1 || !strings.HasSuffix(string(got[0].body), inside) || !strings.HasPrefix(line, "250") {
							t.Errorf("%q, delivered: %v", line, got)
						}
					default:
						c.expect("250 2.0.0 OK")
						if !strings.HasPrefix(line, "503") || len(s.up.taken()) != taken {
							t.Errorf("%q, delivered: %v", line, s.up.taken()[taken:])
						}
					}
				})
			}
			for _, m := range s.up.taken() {
				if m.from != "a@example.com" {
					t.Errorf("a message from %s", m.from)
				}
			}
		}
	}
}
