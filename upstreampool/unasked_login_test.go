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

package upstreampool

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// TestUnaskedAtLogin has the provider say a reply too many before any message,
// or another than belongs to DATA, and refuse the message on that connection: it
// is never confirmed by what answered something else, and the next message goes
// out by a connection that is in step.
func TestUnaskedAtLogin(t *testing.T) {
	const stray = "\r\n250 2.0.0 stray"
	ehlo := func(s *serverConn, encrypted bool) string {
		var b strings.Builder
		b.WriteString("250-provider.test\r\n")
		for _, c := range s.p.caps {
			b.WriteString("250-" + c + "\r\n")
		}
		if encrypted {
			b.WriteString("250-STARTTLS\r\n")
		}
		return b.String() + "250 HELP"
	}
	replies := map[string]func(s *serverConn, line string, encrypted bool) string{
		"connect":  func(*serverConn, string, bool) string { return "220 provider.test ESMTP" + stray },
		"EHLO":     func(s *serverConn, _ string, encrypted bool) string { return ehlo(s, encrypted) + stray },
		"STARTTLS": func(*serverConn, string, bool) string { return "220 go" + stray },
		"AUTH":     func(*serverConn, string, bool) string { return "235 2.7.0 ok" + stray },
		// 250 in place of 354: nothing was received.
		"DATA 250": func(*serverConn, string, bool) string { return "250 2.0.0 Ok: queued" },
		"DATA 354 354": func(*serverConn, string, bool) string {
			return "354 go ahead\r\n354 go ahead"
		},
		"DATA 354 250": func(*serverConn, string, bool) string { return "354 go ahead" + stray },
		// A line of another reply amid one of several lines.
		"EHLO amid": func(s *serverConn, _ string, encrypted bool) string {
			return strings.Replace(ehlo(s, encrypted), "250 HELP", "235-2.7.0 ok\r\n250 HELP", 1)
		},
		"RCPT amid": func(*serverConn, string, bool) string { return "250-2.1.5 ok\r\n354-go\r\n250 2.1.5 ok" },
	}
	for name, reply := range replies {
		for _, encrypted := range []bool{false, true} {
			verb, _, _ := strings.Cut(name, " ")
			if verb == "STARTTLS" && !encrypted {
				continue
			}
			if verb == "connect" {
				verb = "<connect>"
			}
			for _, way := range []string{"one", "many", "deferred"} {
				t.Run(fmt.Sprintf("%s/tls=%v/%s", name, encrypted, way), func(t *testing.T) {
					t.Parallel()
					var bad atomic.Bool
					var refused atomic.Int64
					bad.Store(true)
					p, s := newTLSProvider(t, encrypted, func(p *provider) {
						p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(c string) bool { return c == "CHUNKING" })
						p.hook = func(s *serverConn, line string) string {
							said, _, _ := strings.Cut(line, " ")
							switch {
							case !bad.Load():
								return ""
							case line == "<end>":
								refused.Add(1)
								return "554 5.7.1 refused"
							case said == verb:
								return reply(s, line, encrypted && s.p.count("STARTTLS") == 0)
							}
							return ""
						}
					})
					u := start(t, s)
					send := func(body string) error {
						switch way {
						case "one":
							return deliverBetween(u, body, 1, func() {})
						case "many":
							return deliverBetween(u, body, 3, func() {})
						}
						return single(u, testAccount("a@a.test"), body)
					}
					if err := send("Subject: first\r\n\r\nx\r\n"); err == nil {
						t.Errorf("confirmed, though the provider holds nothing (it refused %d messages)", refused.Load())
					}
					if verb == "STARTTLS" && p.count("AUTH") != 0 {
						t.Error("a login after plain text was put into the encrypted session")
					}
					bad.Store(false)
					// What the provider did may have earned it a pause.
					const body = "Subject: second\r\n\r\nx\r\n"
					if err := send(body); err == nil && p.holds(body) != 1 || err != nil && p.holds(body) != 0 {
						t.Errorf("the message after: %v, and it is held %d times", err, p.holds(body))
					}
				})
			}
		}
	}
}
