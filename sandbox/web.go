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

package sandbox

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/sandbox/fault"
	"github.com/caddymail/mailgateway/sandbox/webapi"
)

// gmailUnits are the quota units of a mailbox and minute in a Google Cloud
// project since May 2026
// (https://developers.google.com/workspace/gmail/api/reference/quota).
const gmailUnits = 6000

// webHost is the sandbox as the HTTP side of its mailboxes sees it.
type webHost struct{ s *Sandbox }

// Token implements webapi.Host.
func (h webHost) Token(bearer string) (webapi.Token, string) {
	var t webapi.Token
	var result string
	t.Mailbox, t.Client, t.Scope, result = h.s.oauth.Token(bearer)
	return t, result
}

// Fault implements webapi.Host.
func (h webHost) Fault(stage, mailbox string) (webapi.Fault, bool) {
	f, ok := h.s.faults.Take(stage, fault.Event{Mailbox: mailbox})
	return webapi.Fault{Action: f.Action, Reply: f.Reply, RetryAfter: f.RetryAfter, Challenge: f.Challenge, Delay: time.Duration(f.Delay), AfterBytes: f.AfterBytes}, ok
}

// Accept implements webapi.Host.
func (h webHost) Accept(m webapi.Message) {
	box := h.s.rec.Mailbox(strings.ToLower(m.Mailbox))
	st := h.s.settings.Load()
	msg := Message{
		Time: time.Now(), Mailbox: box.Name, From: m.From, Rcpts: m.Rcpts, Size: int64(len(m.Body)), Framing: m.API,
	}
	if !st.app.NoHash {
		msg.Sum, msg.Hashed = sha256.Sum256(m.Body), true
	}
	if st.app.KeepBodies {
		msg.Body = m.Body
	}
	h.s.rec.Add(&msg, box)
}

// Sleep implements webapi.Host.
func (h webHost) Sleep(d time.Duration) bool { return h.s.sleep(d) }

// Done implements webapi.Host.
func (h webHost) Done() <-chan struct{} { return h.s.done }

// Limits implements webapi.Host.
func (h webHost) Limits() webapi.Limits {
	st := h.s.settings.Load()
	return webapi.Limits{
		PerMinute: max(0, st.perMinute), RecipientsPerDay: st.app.RecipientsPerDay,
		UnitsPerMinute: max(0, st.gmailUnits), Rewrap: st.app.GmailRewrap,
		Resent: st.app.APIResent, Aliases: st.app.Aliases, SendFromAlias: st.app.SendFromAlias, Delegates: st.app.Delegates,
		KeepSent: st.app.KeepBodies,
	}
}

// Web is the HTTP side of the mailboxes: what it has seen.
func (s *Sandbox) Web() *webapi.Server { return s.webAPI }

var _ webapi.Host = webHost{}
