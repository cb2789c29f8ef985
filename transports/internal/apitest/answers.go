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

package apitest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/sandbox"
)

// Row is one answer of a provider's API and what is to come of it.
type Row struct {
	// Name is the cause.
	Name       string
	Status     int
	Body       string // as it is; empty: none
	RetryAfter int    // seconds; 0: none
	// Want is how the reply to the client begins.
	Want string
	// Hold is how long the mailbox sends nothing; 0: it goes on.
	Hold time.Duration
	// Requests is the number of requests that one message takes. Default: 1.
	Requests int
}

// API is a transport of the tests.
type API interface {
	relay.Upstream
	relay.Reporter
}

// Answers lets the provider give each answer to a mailbox of its own. It holds
// what the client hears, that nothing is repeated but a refused token, that the
// mailbox is held for as long as the row says, and that a message which comes
// meanwhile makes no request.
func Answers(t *testing.T, sb *sandbox.Sandbox, api API, rows []Row) {
	t.Helper()
	for i, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			box := fmt.Sprintf("row%d@example.com", i)
			a := &accounts.Account{Record: accounts.Record{Name: box, Mailbox: box}}
			f := sandbox.Fault{
				Stage: "api", Action: "reply", Mailbox: box, RetryAfter: row.RetryAfter,
				Reply: strings.TrimSpace(fmt.Sprintf("%d %s", row.Status, row.Body)),
			}
			id, err := sb.AddFault(f)
			if err != nil {
				t.Fatal(err)
			}
			defer sb.RemoveFault(id)
			hits := func() int {
				for _, f := range sb.Faults() {
					if f.ID == id {
						return f.Hits
					}
				}
				return -1
			}
			said, reply := answer(t, api, a)
			if !strings.HasPrefix(said, row.Want) {
				t.Errorf("HTTP %d %s: reply %q, want %q", row.Status, row.Body, said, row.Want)
			}
			requests := max(row.Requests, 1)
			if n := hits(); n != requests {
				t.Errorf("%d requests for one message, want %d", n, requests)
			}
			for _, m := range sb.Messages() {
				if m.Mailbox == box {
					t.Error("a message was delivered")
				}
			}
			explained(t, said)
			status := api.AccountStatus(a)
			if about := status.LastError != ""; about != mailboxs(said) || about && status.LastError != said {
				t.Errorf("%q, and the mailbox's status says %q", said, status.LastError)
			}
			resume := status.LoginsResume
			if held := resume != nil; held != (row.Hold > 0) {
				t.Fatalf("the mailbox is held: %t", held)
			}
			if row.Hold == 0 {
				return
			}
			if reply != nil && reply.Temporary() && reply.After != 0 && reply.After != row.Hold {
				t.Errorf("to be tried again after %v, want %v", reply.After, row.Hold)
			}
			if left := time.Until(*resume); left > row.Hold || left < row.Hold-time.Minute {
				t.Errorf("held for %v more, want %v", left, row.Hold)
			}
			if again, _ := answer(t, api, a); !strings.HasPrefix(again, "451 4.7.1") || hits() != requests {
				t.Errorf("a message meanwhile: %q, %d requests", again, hits())
			}
		})
	}
}

// mailboxs reports whether a reply is about the mailbox rather than the message.
func mailboxs(said string) bool {
	for _, code := range []string{"454 4.7.0", "550 5.7.1 ", "550 5.1.8", "452 4.2.2"} {
		if strings.HasPrefix(said, code) {
			return true
		}
	}
	return false
}

// explained holds that an operator is told what a reply means and what helps.
func explained(t *testing.T, said string) {
	t.Helper()
	switch e, ok := (explain.About{Account: "a@example.com", Mailbox: "a@example.com"}).Of(said); {
	case strings.HasPrefix(said, "250 "):
	case !ok || e.Cause == "" || e.Remedy == "":
		t.Errorf("%q is not explained", said)
	case e.General && !strings.Contains(said, "ErrorNew") && !strings.Contains(said, "notfound"):
		t.Errorf("%q is explained by its code alone: %s", said, e.Cause)
	}
}

// answer sends a message, and returns the last reply.
func answer(t *testing.T, api relay.Upstream, a *accounts.Account) (string, *relay.Reply) {
	t.Helper()
	msg := "From: " + a.Mailbox + "\r\nTo: a@example.org\r\n\r\nhello\r\n"
	reply, _, err := relay.SendInTurn(t.Context(), api, a, a.Mailbox, nil, relay.Recipient{To: "a@example.org"}, strings.NewReader(msg))
	if err == nil {
		return reply.Error(), &reply
	}
	r, _ := errors.AsType[*relay.Reply](err)
	return err.Error(), r
}

// Told is the body of an error as Microsoft Graph words it.
func Told(code, message string) string {
	return fmt.Sprintf(`{"error":{"code":%q,"message":%q,"innerError":{"request-id":"1"}}}`, code, message)
}

// Reasoned is the body of an error as Google words it; status and detail (the
// reason of an ErrorInfo) may be empty.
func Reasoned(code int, reason, message, status, detail string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"error":{"code":%d,"message":%q`, code, message)
	if reason != "" {
		fmt.Fprintf(&b, `,"errors":[{"domain":"global","reason":%q,"message":%q}]`, reason, message)
	}
	if status != "" {
		fmt.Fprintf(&b, `,"status":%q`, status)
	}
	if detail != "" {
		fmt.Fprintf(&b, `,"details":[{"@type":"type.googleapis.com/google.rpc.Help"},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"googleapis.com"}]`, detail)
	}
	b.WriteString("}}")
	return b.String()
}
