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
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/dialer"
)

// TestProviderSpoke has a provider take no connection, in so many words: they reach
// the client, the log and the upstream's status, also when the breaker is open, until
// it takes one. It is not called unreachable.
func TestProviderSpoke(t *testing.T) {
	const list = "Your address 192.0.2.1 is on our block list"
	for _, tc := range []struct {
		place, says, want, explained string
	}{
		{"<connect>", "554 5.7.1 " + list, "451 4.7.1 The provider refuses the gateway's connection: 554 5.7.1 " + list, "own_connection_refused"},
		{"<connect>", "554 " + list, "451 4.7.1 The provider refuses the gateway's connection: 554 " + list, "own_connection_refused"},
		{"<connect>", "554-provider.test\r\n554 " + list, "451 4.7.1 The provider refuses the gateway's connection: 554 provider.test", "own_connection_refused"},
		{"<connect>", "421 4.7.0 Try again later<close>", "451 4.3.2 The provider refuses the gateway's connection: 421 4.7.0 Try again later", "own_connection_refused_now"},
		{"<connect>", "432 4.3.2 Concurrent connections limit exceeded", "451 4.3.2 The provider limits this account's connections: 432 4.3.2 Concurrent", "ms_concurrent_connections"},
		{"EHLO", "550 5.7.1 " + list, "451 4.7.1 The provider refuses the gateway's connection: 550 5.7.1 " + list, "own_connection_refused"},
		{"EHLO", "421 4.7.0 IP not in whitelist<close>", "451 4.3.2 The provider refuses the gateway's connection: 421 4.7.0 IP not in whitelist", "own_connection_refused_now"},
		{"STARTTLS", "454 4.7.0 TLS not available due to temporary reason", "451 4.3.2 The provider refuses the gateway's connection: 454 4.7.0 TLS not available", "own_connection_refused_now"},
		{"<connect>", "250 2.0.0 what", "451 4.5.0 Upstream sent an invalid reply", ""},
		{"<connect>", "<close>", "451 4.4.1 Upstream unavailable", ""},
	} {
		t.Run(tc.place+" "+tc.says, func(t *testing.T) {
			var refuses atomic.Bool
			refuses.Store(true)
			p, s := newTLSProvider(t, tc.place == "STARTTLS", func(p *provider) {
				p.hook = func(_ *serverConn, line string) string {
					if refuses.Load() && strings.HasPrefix(line, tc.place) {
						return tc.says
					}
					return ""
				}
			})
			core, logs := observer.New(zap.WarnLevel)
			s.Logger = zap.New(core)
			s.name = ofRun(t, fmt.Sprintf("spoke %s %.20q", tc.place, tc.says))
			s.maxWait = 30 * time.Second
			u := start(t, s)
			busy := strings.HasPrefix(tc.says, "432")
			for i := range dialer.BreakerAfter + 2 {
				if (busy || tc.want[:9] == "451 4.5.0") && i > 0 {
					break // the mailbox's own pause
				}
				r, ok := errors.AsType[*relay.Reply](deliver(u, testAccount(fmt.Sprintf("a%d@a.test", i)), "x"))
				if !ok || !strings.HasPrefix(r.Error(), tc.want) {
					t.Fatalf("message %d hears %v, want %s", i, r, tc.want)
				}
				if e, known := explain.Of(r.Error()); tc.explained != "" && (!known || e.ID != tc.explained) {
					t.Errorf("explained as %+v", e)
				}
				if unreachable := relay.Unreachable(r.Error()); unreachable != (tc.explained != "ms_concurrent_connections" && tc.want[:9] != "451 4.5.0") {
					t.Errorf("trouble of the upstream: %v", unreachable)
				}
			}
			spoke := strings.Contains(tc.want, "refuses the gateway's connection")
			tr := &SMTPTransport{bound: s, upstream: u, started: make(chan struct{})}
			close(tr.started)
			st := tr.Status()
			if spoke != strings.HasPrefix(st.Refused, "the provider refuses the gateway's connection: "+tc.says[:4][:3]) {
				t.Errorf("status %+v", st)
			}
			opened := logs.FilterMessageSnippet("breaker opened").All()
			if !busy && tc.want[:9] != "451 4.5.0" && (len(opened) != 1 || spoke != strings.Contains(opened[0].Message, "refuses")) {
				t.Errorf("logged %v", opened)
			}
			if spoke && u.dialer.Breaker.State(clock()) != breaker.Open {
				t.Errorf("breaker %v", u.dialer.Breaker.State(clock()))
			}
			refuses.Store(false)
			for deadline := time.Now().Add(20 * time.Second); ; {
				if err := deliver(u, testAccount("b@a.test"), "x"); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatal(err)
				}
				wait, _, _ := u.dialer.Breaker.Allow(clock())
				time.Sleep(max(wait, time.Millisecond))
			}
			if st := tr.Status(); st.Refused != "" {
				t.Errorf("status %+v", st)
			}
			if n := len(p.got()); n != 1 {
				t.Errorf("%d messages", n)
			}
		})
	}
}
