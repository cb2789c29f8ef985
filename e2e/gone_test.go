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
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestClientGoneAtEveryOctet ends a client's transaction behind each octet that
// it sends, with a close and with a reset: the provider has the message if its
// end was sent, once, and nothing of it otherwise.
func TestClientGoneAtEveryOctet(t *testing.T) {
	for _, framing := range []string{"DATA", "BDAT"} {
		for _, reset := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/reset=%v", framing, reset), func(t *testing.T) {
				testClientGone(t, framing, reset)
			})
		}
	}
}

func testClientGone(t *testing.T, framing string, reset bool) {
	w := newWorld(t)

	text := func(n int) string { return fmt.Sprintf("Subject: %03d\r\n\r\n.x\r\n", n) }
	envelope := "MAIL FROM:<" + testUser + ">\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\n"
	// What goes out at once, and what after the go-ahead.
	script := func(n int) (first, second string, end int) {
		if framing == "DATA" {
			first = envelope + "DATA\r\n"
			second = strings.ReplaceAll(text(n), "\r\n.", "\r\n..") + ".\r\n"
			return first, second + "QUIT\r\n", len(first) + len(second)
		}
		half := text(n)[:8]
		first = envelope + fmt.Sprintf("BDAT %d\r\n%s", len(half), half) + fmt.Sprintf("BDAT %d LAST\r\n%s", len(text(n))-len(half), text(n)[len(half):])
		return first + "QUIT\r\n", "", len(first)
	}
	first, second, end := script(0)
	for n := range len(first) + len(second) + 1 {
		first, second, _ := script(n)
		c := w.login()
		c.write(first[:min(n, len(first))])
		if n > len(first) {
			for _, code := range []int{250, 250, 250, 354} {
				c.expect(code)
			}
			c.write(second[:n-len(first)])
		}
		if n >= end && reset {
			// What is reset may be lost on its way: its reply says that it is not.
			replies := 5
			if framing == "DATA" {
				replies = 1
			}
			for range replies {
				c.expect(250)
			}
		}
		if tcp, ok := c.conn.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		c.conn.Close()
	}
	// It goes on for others, and ends when all of it has.
	if rep := w.login().send("last\r\n"); rep.code != 250 {
		t.Fatalf("final reply %q", rep)
	}
	// A gateway that ends reads no commands of those that went last.
	whole := uint64(len(first) + len(second) + 1 - end)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.sandbox.WaitMessages(ctx, whole+1); err != nil {
		t.Errorf("waiting for %d messages: %v", whole+1, err)
	}
	w.close()
	held := make(map[string]int)
	for _, m := range w.sandbox.Messages() {
		body, _ := w.sandbox.Body(m.ID)
		held[string(body)]++
		if len(m.Rcpts) != 2 && string(body) != "last\r\n" {
			t.Errorf("%q is for %v", body, m.Rcpts)
		}
	}
	if held["last\r\n"] != 1 {
		t.Errorf("the last message is held %d times", held["last\r\n"])
	}
	delete(held, "last\r\n")
	for n := range len(first) + len(second) + 1 {
		want := 0
		if n >= end {
			want = 1
		}
		if held[text(n)] != want {
			t.Errorf("cut off behind %d of %d octets: held %d times, want %d", n, end, held[text(n)], want)
		}
		delete(held, text(n))
	}
	for body := range held {
		t.Errorf("the provider holds what no client sent: %q", body)
	}
}
