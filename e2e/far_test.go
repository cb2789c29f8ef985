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
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestFarProvider: a large message to a provider on another continent does not wait a
// round trip for each 256 KiB.
func TestFarProvider(t *testing.T) {
	w := newWorld(t, withSandbox(func(sb *sandbox.App) { sb.RTT = caddy.Duration(300 * time.Millisecond) }))
	c := w.login()
	body := eightBit(3 << 20)
	for _, what := range []string{"the first message", "another"} {
		before := len(w.sandbox.Messages())
		if rep := c.send(string(body)); rep.code != 250 {
			t.Fatalf("%s: %q", what, rep)
		}
		m := w.sandbox.Messages()[before:]
		if len(m) != 1 || m[0].SHA256 != digest(body) {
			t.Fatalf("%s: delivered %d times, or not as it was sent", what, len(m))
		}
		// 256 KiB to see, 256 KiB that have been read by then, and the rest in two, or a
		// few more where the client is slow. It was 12.
		if m[0].Framing != "BDAT" || m[0].Chunks > 6 {
			t.Errorf("%s: %s in %d chunks", what, m[0].Framing, m[0].Chunks)
		}
	}
}

// TestFarProviderRefuses: what a far provider does amid a large message, to a small
// chunk or a large one, has the outcome that it has nearby.
func TestFarProviderRefuses(t *testing.T) {
	w := newWorld(t, withSandbox(func(sb *sandbox.App) { sb.RTT = caddy.Duration(300 * time.Millisecond) }))
	body := eightBit(3 << 20)
	for _, nth := range []int{2, 3, 4} {
		for _, tc := range []struct {
			fault sandbox.Fault
			code  int
		}{
			{sandbox.Fault{Stage: "bdat", Action: "reply", Reply: "552 5.3.4 Too big for us", Nth: nth, Times: 1}, 552},
			{sandbox.Fault{Stage: "bdat", Action: "close", Nth: nth, Times: 1}, 451},
			{sandbox.Fault{Stage: "bdat", Action: "reset", Nth: nth, Times: 1}, 451},
		} {
			before := w.sandbox.MessageCount()
			if _, err := w.sandbox.AddFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			c := w.login()
			rep := c.send(string(body))
			if rep.code != tc.code || w.sandbox.MessageCount() != before {
				t.Errorf("chunk %d, %s %s: %q, %d delivered", nth, tc.fault.Action, tc.fault.Reply, rep, w.sandbox.MessageCount()-before)
			}
			if rep = c.send("after it\r\n"); rep.code != 250 || w.sandbox.MessageCount() != before+1 {
				t.Errorf("chunk %d, %s: the next message: %q", nth, tc.fault.Action, rep)
			}
		}
	}
}
