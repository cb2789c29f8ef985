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
	"crypto/rand"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
)

// apiCase is one fault of a provider's HTTP API.
type apiCase struct {
	name  string
	fault sandbox.Fault
	want  string // how the final reply begins
	held  int    // how often the provider has the message then
	size  int    // of the message, at least; 0: some octets
	again int    // how often the fault happens beyond once: what is repeated
}

// apiCases are faults that both APIs have; busy and limit are the provider's own
// words for these.
func apiCases(busy, limit string) []apiCase {
	return []apiCase{
		{name: "none", want: "250 ", held: 1},
		{name: "reset after the last octet, and sent", fault: sandbox.Fault{Stage: "api_end", Action: "reset"}, want: "451 4.4.2", held: 1},
		{name: "reset after the last octet, and not sent", fault: sandbox.Fault{Stage: "api", Action: "reset"}, want: "451 4.4.2", held: 0},
		// The connection may be gone before anything of the body is asked for.
		{name: "reset before the body", fault: sandbox.Fault{Stage: "api_head", Action: "reset"}, want: "451 4.4.", held: 0, again: 1},
		{name: "reset before a large body", fault: sandbox.Fault{Stage: "api_head", Action: "reset"}, want: "451 4.4.", held: 0, size: 2 << 20, again: 1},
		{name: "reset in the body", fault: sandbox.Fault{Stage: "api_body", Action: "reset", AfterBytes: 1000}, want: "451 4.4.", held: 0, size: 2 << 20},
		{name: "closed in the body", fault: sandbox.Fault{Stage: "api_body", Action: "close", AfterBytes: 100_000}, want: "451 4.4.", held: 0, size: 2 << 20},
		{name: "no more read in the body", fault: sandbox.Fault{Stage: "api_body", Action: "hang", AfterBytes: 1000}, want: "451 4.4.", held: 0, size: 2 << 20},
		{name: "504 in the body", fault: sandbox.Fault{Stage: "api_body", Action: "reply", Reply: "504", AfterBytes: 1000}, want: "451 4.4.2", held: 0, size: 2 << 20},
		{name: "closed, and sent", fault: sandbox.Fault{Stage: "api_end", Action: "close"}, want: "451 4.4.2", held: 1},
		{name: "no answer, and sent", fault: sandbox.Fault{Stage: "api_end", Action: "hang"}, want: "451 4.4.2", held: 1},
		{name: "no answer, and not sent", fault: sandbox.Fault{Stage: "api", Action: "hang"}, want: "451 4.4.2", held: 0},
		{name: "504 that sends", fault: sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, want: "451 4.4.2", held: 1},
		{name: "504 that does not", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, want: "451 4.4.2", held: 0},
		{name: "500 that sends", fault: sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "500"}, want: "451 4.4.2", held: 1},
		{name: "502 that sends", fault: sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "502 <html>Bad Gateway</html>"}, want: "451 4.4.2", held: 1},
		{name: "503, busy", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: busy}, want: "451 4.", held: 0},
		{name: "408 that sends", fault: sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "408"}, want: "451 4.4.2", held: 1},
		{name: "429 with Retry-After", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: limit, RetryAfter: 30}, want: "451 4.7.1", held: 0},
		{name: "429 without", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 <html></html>"}, want: "451 4.7.1", held: 0},
		{name: "413 as HTML", fault: sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "413 <html></html>"}, want: "552 5.3.4", held: 0},
		{name: "an unknown refusal", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 Novelty Something"}, want: "554 5.", held: 0},
	}
}

// TestAPIFaultMatrix is the fault matrix of the HTTP transports, from a client's
// socket to the provider's mailbox, in both orders of the envelope: nothing that
// was acknowledged is missing, the gateway doubles nothing, and what is not known
// is said to be unknown.
func TestAPIFaultMatrix(t *testing.T) {
	for kind, more := range map[string][]apiCase{
		"graph": append(apiCases("503 ErrorServerBusy The server is busy", "429 ApplicationThrottled over its limit"),
			apiCase{name: "202 with Retry-After", fault: sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "202", RetryAfter: 30}, want: "250 ", held: 1},
			apiCase{name: "the mailbox is full", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: "507 ErrorQuotaExceeded The mailbox is full"}, want: "452 4.2.2", held: 0},
			apiCase{name: "401 once", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken expired", Times: 1}, want: "250 ", held: 1}),
		"gmail": append(apiCases("503 backendError Backend Error", "429 rateLimitExceeded User-rate limit exceeded"),
			apiCase{name: "401 once", fault: sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 authError Invalid Credentials", Times: 1}, want: "250 ", held: 1}),
	} {
		t.Run(kind, func(t *testing.T) { apiFaults(t, kind, more) })
	}
}

func apiFaults(t *testing.T, kind string, cases []apiCase) {
	profile := map[string]string{"graph": "microsoft", "gmail": "google"}[kind]
	deferredAddr := freeAddr(t)
	opts := []option{withSandbox(func(sb *sandbox.App) { sb.Profile = profile })}
	// What a mailbox was told to wait outlives the upstream, and so a test that is
	// run again.
	upstream := kind + rand.Text()
	user := func(i int, order string) string { return fmt.Sprintf("%s%d@example.com", order, i) }
	orders := []string{"immediate", "deferred"}
	for i := range cases {
		for _, order := range orders {
			a := account(user(i, order), user(i, order))
			a["upstream"] = upstream
			opts = append(opts, withAccount(a))
		}
	}
	w := buildWorld(t, opts...)
	t.Cleanup(func() { w.sandbox.Close() })
	api := object{"transport": kind, "provider": "sandbox", "endpoint": w.sandbox.HTTPURL(), "timeout": "2s"}
	if kind == "gmail" {
		api["userinfo_url"] = w.sandbox.HTTPURL() + "/userinfo"
	}
	w.app("smtp_upstreams")["upstreams"].(object)[upstream] = api
	w.app("smtp")["servers"].(object)["deferred"] = object{
		"listen": []string{deferredAddr}, "tls": object{"mode": "off"}, "envelope": "deferred",
	}
	w.load()
	t.Cleanup(w.close)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	replies := make([]map[string]string, len(cases))
	for i, tc := range cases {
		replies[i] = make(map[string]string)
		for _, order := range orders {
			if tc.fault.Stage != "" {
				f := tc.fault
				f.Mailbox = user(i, order)
				if _, err := w.sandbox.AddFault(f); err != nil {
					t.Fatal(err)
				}
			}
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, order := range orders {
				addr := map[string]string{"immediate": w.addr, "deferred": deferredAddr}[order]
				replies[i][order] = apiSend(addr, user(i, order), order == "immediate", tc.size)
			}
		})
	}
	wg.Wait()
	held := make(map[string]int)
	for _, m := range w.sandbox.Messages() {
		held[m.Mailbox]++
		want := "blind@example.net to@example.net"
		if strings.HasPrefix(m.Mailbox, "deferred") {
			want = "to@example.net"
		}
		if slices.Sort(m.Rcpts); strings.Join(m.Rcpts, " ") != want {
			t.Errorf("%s: delivered to %q, want %s", m.Mailbox, m.Rcpts, want)
		}
	}
	// The requests are the provider's to count: nothing is repeated inside.
	requests := make(map[string]int)
	for _, f := range w.sandbox.Faults() {
		requests[f.Mailbox] += f.Hits
	}
	for i, tc := range cases {
		for _, order := range orders {
			if n := requests[user(i, order)]; tc.fault.Stage != "" && (n < 1 || n > 1+tc.again) {
				t.Errorf("%s, %s: it happened %d times, and may %d", tc.name, order, n, 1+tc.again)
			}
			u, got := user(i, order), replies[i][order]
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s, %s: reply %q, want %q", tc.name, order, got, tc.want)
			}
			if held[u] != tc.held {
				t.Errorf("%s, %s: the provider has it %d times, want %d", tc.name, order, held[u], tc.held)
			}
			if strings.HasPrefix(got, "2") && held[u] == 0 {
				t.Errorf("%s, %s: acknowledged and missing", tc.name, order)
			}
		}
	}
}

// apiSend sends one message, and returns the last reply, which is the first that
// is negative.
func apiSend(addr, user string, blind bool, size int) string {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	steps := []string{"", "EHLO client.test", "AUTH PLAIN " + plain(user, testPassword), "MAIL FROM:<" + user + ">", "RCPT TO:<to@example.net>"}
	if blind {
		steps = append(steps, "RCPT TO:<blind@example.net>")
	}
	steps = append(steps, "DATA", "From: "+user+"\r\nTo: to@example.net\r\nSubject: x\r\n\r\nhello\r\n"+strings.Repeat("0123456789\r\n", size/12)+".")
	said := ""
	for _, step := range steps {
		if step != "" {
			if err := c.PrintfLine("%s", step); err != nil {
				return err.Error()
			}
		}
		code, text, err := c.ReadResponse(0)
		if err != nil && code == 0 {
			return err.Error()
		}
		if said = fmt.Sprintf("%d %s", code, text); code >= 400 {
			break
		}
	}
	return said
}
