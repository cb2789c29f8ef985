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
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/e2e/faultproxy"
	"github.com/caddymail/mailgateway/sandbox"
)

// numbered is one message of TestBrokenNetwork and the last word on it.
type numbered struct {
	user  string
	reply string // empty if the session ended without
}

// numberedBody is the message of a number: its own octets, and now and then many.
func numberedBody(n int, rnd *rand.Rand) []byte {
	lines := rnd.IntN(40)
	if rnd.IntN(50) == 0 {
		lines = rnd.IntN(12_000)
	}
	return append(fmt.Appendf(nil, "Subject: %d\r\n\r\n", n), bytes.Repeat(fmt.Appendf(nil, ".%d and so on\r\n", n), lines)...)
}

// numberedSend sends one message in one of the framings.
func (c *client) numberedSend(user string, body []byte, framing int) (text string, alive bool) {
	if framing == 0 {
		return c.chaosSend(user, body)
	}
	for _, s := range []string{"MAIL FROM:<" + user + ">\r\n", "RCPT TO:<x@example.net>\r\n", "DATA\r\n"} {
		if text = c.chaosAsk(s); text == "" || text[0] != '2' && text[0] != '3' {
			return text, text != "" && c.chaosAsk("RSET\r\n") != ""
		}
	}
	text = c.chaosAsk(string(dotStuff(body)))
	return text, text != ""
}

func fromEnv(t testing.TB, name string, def int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(def)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestBrokenNetwork: numbered messages of several accounts through a network
// that breaks, delays and repeats at any octet, while the configuration changes.
// What was acknowledged is held once, unchanged, under the login of its client.
// MAILGATEWAY_MESSAGES is how many are sent, MAILGATEWAY_SEED what happens.
func TestBrokenNetwork(t *testing.T) {
	const boxes, clients, reloads = 4, 16, 4
	total, seed := fromEnv(t, "MAILGATEWAY_MESSAGES", 6000), fromEnv(t, "MAILGATEWAY_SEED", 1)
	second := freeAddr(t)
	opts := []option{
		withUpstream("max_conns_per_account", 4),
		withUpstream("tls", object{"mode": "off"}), // so that the proxy can read along
		withSandbox(func(sb *sandbox.App) {
			sb.PlaintextAuth, sb.KeepBodies, sb.KeepMessages = true, false, 2*total
		}),
		func(w *world, _ *sandbox.App) {
			w.app("smtp")["servers"].(object)["second"] = object{
				"listen": []string{second}, "tls": object{"mode": "off"}, "envelope": "deferred",
			}
		},
	}
	for i := range boxes {
		box := fmt.Sprintf("box%d@example.com", i)
		opts = append(opts, withAccount(account(box, box)))
	}
	w := buildWorld(t, opts...)
	t.Cleanup(func() { w.sandbox.Close() })
	proxy, err := faultproxy.Start(faultproxy.Config{Target: w.sandbox.SMTPAddr(), Seed: uint64(seed), Mean: 5_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w.upstream()["dial"] = proxy.Addr()
	w.load()
	t.Cleanup(w.close)

	sent := make([]numbered, total)
	sums := make([]string, total)
	var next atomic.Int64
	due := make(chan struct{}, reloads)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
			at := *w
			at.addr = []string{w.addr, second}[i/boxes%2]
			user := fmt.Sprintf("box%d@example.com", i%boxes)
			var c *client
			for {
				n := int(next.Add(1)) - 1
				if n >= total {
					break
				}
				if n%(total/(reloads+1)) == 0 && n > 0 {
					select {
					case due <- struct{}{}:
					default:
					}
				}
				if rnd.IntN(8) == 0 { // replies too many come at pauses
					time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
				}
				body := numberedBody(n, rnd)
				sums[n], sent[n].user = digest(body), user
				if c == nil {
					if c = at.chaosClient(user); c == nil {
						continue // never sent
					}
				}
				_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
				var alive bool
				if sent[n].reply, alive = c.numberedSend(user, body, rnd.IntN(2)); !alive {
					c.conn.Close()
					c = nil
				}
			}
			if c != nil {
				c.conn.Close()
			}
		})
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	loaded := 0
	for waiting := true; waiting; {
		select {
		case <-over:
			waiting = false
		case <-due:
			loaded++
			w.upstream()["max_conns_per_account"] = 3 + loaded%2
			w.load()
		}
	}
	proxy.Calm()
	w.close()

	number := make(map[string]int, total)
	for n, sum := range sums {
		number[sum] = n
	}
	held := make([]int, total)
	for _, m := range w.sandbox.Messages() {
		n, ok := number[m.SHA256]
		if !ok {
			t.Errorf("the provider holds a message of %d octets that was never sent", m.Size)
			continue
		}
		held[n]++
		if m.Mailbox != sent[n].user {
			t.Errorf("message %d of %s came as %s", n, sent[n].user, m.Mailbox)
		}
	}
	acknowledged, unknown := 0, 0
	for n, m := range sent {
		switch {
		case strings.HasPrefix(m.reply, "250 "):
			acknowledged++
			if held[n] != 1 {
				t.Errorf("message %d of %s was acknowledged and is held %d times: %s", n, m.user, held[n], m.reply)
			}
		case m.reply == "" || strings.Contains(m.reply, "delivery unknown"):
			unknown++
			if held[n] > 1 {
				t.Errorf("message %d of %s is held %d times: %q", n, m.user, held[n], m.reply)
			}
		case held[n] != 0:
			t.Errorf("message %d of %s was refused and is held %d times: %s", n, m.user, held[n], m.reply)
		}
	}
	hits := ""
	for _, k := range faultproxy.Kinds() {
		hits += fmt.Sprintf(" %s %d", k, proxy.Hits(k))
		if proxy.Hits(k) == 0 {
			t.Errorf("no %s has happened", k)
		}
	}
	t.Logf("seed %d: %d of %d acknowledged, %d unknown, %d reloads, faults:%s", seed, acknowledged, total, unknown, loaded, hits)
	if acknowledged < total/2 || loaded < reloads/2 {
		t.Error("too little happened for this to show anything")
	}
}
