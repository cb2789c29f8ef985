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
}

// apiCases are faults that both APIs have; busy and limit are the provider's own
// words for these.
func apiCases(busy, limit string) []apiCase {
	return []apiCase{
		{"none", sandbox.Fault{}, "250 ", 1},
		{"reset after the last octet, and sent", sandbox.Fault{Stage: "api_end", Action: "reset"}, "451 4.4.2", 1},
		{"reset after the last octet, and not sent", sandbox.Fault{Stage: "api", Action: "reset"}, "451 4.4.2", 0},
		{"reset before the body", sandbox.Fault{Stage: "api_head", Action: "reset"}, "451 4.4.", 0},
		{"closed, and sent", sandbox.Fault{Stage: "api_end", Action: "close"}, "451 4.4.2", 1},
		{"no answer, and sent", sandbox.Fault{Stage: "api_end", Action: "hang"}, "451 4.4.2", 1},
		{"no answer, and not sent", sandbox.Fault{Stage: "api", Action: "hang"}, "451 4.4.2", 0},
		{"504 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, "451 4.4.2", 1},
		{"504 that does not", sandbox.Fault{Stage: "api", Action: "reply", Reply: "504 <html>Gateway Timeout</html>"}, "451 4.4.2", 0},
		{"500 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "500"}, "451 4.4.2", 1},
		{"502 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "502 <html>Bad Gateway</html>"}, "451 4.4.2", 1},
		{"503, busy", sandbox.Fault{Stage: "api", Action: "reply", Reply: busy}, "451 4.", 0},
		{"408 that sends", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "408"}, "451 4.4.2", 1},
		{"429 with Retry-After", sandbox.Fault{Stage: "api", Action: "reply", Reply: limit, RetryAfter: 30}, "451 4.7.1", 0},
		{"429 without", sandbox.Fault{Stage: "api", Action: "reply", Reply: "429 <html></html>"}, "451 4.7.1", 0},
		{"413 as HTML", sandbox.Fault{Stage: "api_head", Action: "reply", Reply: "413 <html></html>"}, "552 5.3.4", 0},
		{"an unknown refusal", sandbox.Fault{Stage: "api", Action: "reply", Reply: "400 Novelty Something"}, "554 5.", 0},
	}
}

// TestAPIFaultMatrix is the fault matrix of the HTTP transports, from a client's
// socket to the provider's mailbox, in both orders of the envelope: nothing that
// was acknowledged is missing, the gateway doubles nothing, and what is not known
// is said to be unknown.
func TestAPIFaultMatrix(t *testing.T) {
	for kind, more := range map[string][]apiCase{
		"graph": append(apiCases("503 ErrorServerBusy The server is busy", "429 ApplicationThrottled over its limit"),
			apiCase{"202 with Retry-After", sandbox.Fault{Stage: "api_end", Action: "reply", Reply: "202", RetryAfter: 30}, "250 ", 1},
			apiCase{"the mailbox is full", sandbox.Fault{Stage: "api", Action: "reply", Reply: "507 ErrorQuotaExceeded The mailbox is full"}, "452 4.2.2", 0},
			apiCase{"401 once", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 InvalidAuthenticationToken expired", Times: 1}, "250 ", 1}),
		"gmail": append(apiCases("503 backendError Backend Error", "429 rateLimitExceeded User-rate limit exceeded"),
			apiCase{"401 once", sandbox.Fault{Stage: "api", Action: "reply", Reply: "401 authError Invalid Credentials", Times: 1}, "250 ", 1}),
	} {
		t.Run(kind, func(t *testing.T) { apiFaults(t, kind, more) })
	}
}

func apiFaults(t *testing.T, kind string, cases []apiCase) {
	profile := map[string]string{"graph": "microsoft", "gmail": "google"}[kind]
	deferredAddr := freeAddr(t)
	opts := []option{withSandbox(func(sb *sandbox.App) { sb.Profile = profile })}
	user := func(i int, order string) string { return fmt.Sprintf("%s%d@example.com", order, i) }
	orders := []string{"immediate", "deferred"}
	for i := range cases {
		for _, order := range orders {
			a := account(user(i, order), user(i, order))
			a["upstream"] = "api"
			opts = append(opts, withAccount(a))
		}
	}
	w := buildWorld(t, opts...)
	t.Cleanup(func() { w.sandbox.Close() })
	api := object{"transport": kind, "provider": "sandbox", "endpoint": w.sandbox.HTTPURL(), "timeout": "2s"}
	if kind == "gmail" {
		api["userinfo_url"] = w.sandbox.HTTPURL() + "/userinfo"
	}
	w.app("smtp_upstreams")["upstreams"].(object)["api"] = api
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
				replies[i][order] = apiSend(addr, user(i, order), order == "immediate")
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
	for i, tc := range cases {
		for _, order := range orders {
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
func apiSend(addr, user string, blind bool) string {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	steps := []string{"", "EHLO client.test", "AUTH PLAIN " + plain(user, testPassword), "MAIL FROM:<" + user + ">", "RCPT TO:<to@example.net>"}
	if blind {
		steps = append(steps, "RCPT TO:<blind@example.net>")
	}
	steps = append(steps, "DATA", "From: "+user+"\r\nTo: to@example.net\r\nSubject: x\r\n\r\nhello\r\n.")
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
