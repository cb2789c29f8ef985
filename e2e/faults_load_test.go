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
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/sandbox"
)

// chaosMessage is what became of one message in the eyes of its client.
type chaosMessage struct {
	sum   string
	reply string // the last one, empty if the connection ended
}

// TestFaultsUnderLoad: many clients on shared pools while connections die at
// all stages. What a client saw accepted is held once, what it saw refused is
// held by nobody, and only what was declared unknown may be either.
func TestFaultsUnderLoad(t *testing.T) {
	const boxes, clients, each = 4, 12, 200
	for _, envelope := range []string{"faithful", "deferred"} {
		t.Run(envelope, func(t *testing.T) {
			opts := []option{withServer("envelope", envelope), withUpstream("max_conns_per_account", 3)}
			for i := range boxes {
				opts = append(opts, withAccount(account(fmt.Sprintf("box%d@example.com", i), fmt.Sprintf("box%d@example.com", i))))
			}
			w := newWorld(t, opts...)
			n := 0
			for _, stage := range []string{"mail", "rcpt", "bdat", "body", "end", "ready"} {
				for _, action := range []string{"reset", "close", reply421, "garbage", "450 4.2.0 Later", "550 5.7.1 No", "drop_after_accept"} {
					f := sandbox.Fault{Stage: stage, Action: action, Times: 1}
					switch {
					case strings.Contains(action, " "):
						f.Action, f.Reply = "reply", action
					case action == "drop_after_accept" && stage != "end":
						continue
					}
					for round := range 5 {
						n++
						f.Skip = 7*n + 90*round
						if _, err := w.sandbox.AddFault(f); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			results := make([][]chaosMessage, clients)
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					user := fmt.Sprintf("box%d@example.com", i%boxes)
					var c *client
					for m := range each {
						body := fmt.Appendf(nil, "Subject: %d of %d\r\n\r\n%s", m, i, strings.Repeat("x\r\n", (m*i)%50))
						if c == nil {
							c = w.chaosClient(user)
						}
						msg := chaosMessage{sum: digest(body)}
						if c != nil {
							var alive bool
							if msg.reply, alive = c.chaosSend(user, body); !alive {
								c.conn.Close()
								c = nil
							}
						}
						results[i] = append(results[i], msg)
					}
					if c != nil {
						c.conn.Close()
					}
				})
			}
			wg.Wait()
			hits := 0
			for _, f := range w.sandbox.Faults() {
				hits += f.Hits
			}
			w.sandbox.ClearFaults()
			for i := range boxes {
				user := fmt.Sprintf("box%d@example.com", i)
				for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
					c := w.chaosClient(user)
					if c == nil {
						t.Fatal("no login")
					}
					text, _ := c.chaosSend(user, []byte("Subject: after\r\n"))
					c.conn.Close()
					if strings.HasPrefix(text, "250 ") {
						break
					} else if time.Now().After(deadline) {
						t.Fatalf("%s afterwards: %s", user, text)
					}
				}
			}
			w.close()
			held := make(map[string]int)
			for _, m := range w.sandbox.Messages() {
				held[m.SHA256]++
			}
			accepted, unknown := 0, 0
			for _, list := range results {
				for _, m := range list {
					switch n := held[m.sum]; {
					case strings.HasPrefix(m.reply, "250 "):
						accepted++
						if n != 1 {
							t.Errorf("accepted, and held %d times: %s", n, m.reply)
						}
					case strings.Contains(m.reply, "delivery unknown"):
						unknown++
						if n > 1 {
							t.Errorf("held %d times: %s", n, m.reply)
						}
					case n != 0:
						t.Errorf("refused, and held %d times: %q", n, m.reply)
					}
				}
			}
			for i := range boxes {
				// 3 are configured; others may be ones that the gateway has
				// closed and the provider has yet to notice.
				if peak := w.sandbox.Mailbox(fmt.Sprintf("box%d@example.com", i)).ConnsPeak; peak > 6 {
					t.Errorf("%d connections at once", peak)
				}
			}
			t.Logf("%d faults, %d of %d messages accepted, %d unknown", hits, accepted, clients*each, unknown)
			if hits < 50 || accepted < clients*each/2 {
				t.Error("too little happened for this to show anything")
			}
		})
	}
}

// chaosClient logs in; nil if that fails.
func (w *world) chaosClient(user string) *client {
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	context.AfterFunc(w.t.Context(), func() { conn.Close() })
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	for _, s := range []string{"", "EHLO client.test\r\n", "AUTH PLAIN " + plain(user, testPassword) + "\r\n"} {
		if text := c.chaosAsk(s); text == "" || text[0] != '2' {
			conn.Close()
			return nil
		}
	}
	return c
}

// chaosAsk sends and returns the reply, empty if the connection ended.
func (c *client) chaosAsk(s string) string {
	if _, err := c.conn.Write([]byte(s)); err != nil {
		return ""
	}
	rep, err := c.readReply()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %s", rep.code, strings.Join(rep.lines, " "))
}

// chaosSend sends one message and returns the reply that decided.
func (c *client) chaosSend(user string, body []byte) (text string, alive bool) {
	for _, s := range []string{"MAIL FROM:<" + user + ">\r\n", "RCPT TO:<x@example.net>\r\n"} {
		if text = c.chaosAsk(s); text == "" || text[0] != '2' {
			return text, text != "" && c.chaosAsk("RSET\r\n") != ""
		}
	}
	text = c.chaosAsk(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
	return text, text != ""
}
