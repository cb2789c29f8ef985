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

package authserver

import (
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/exhausted"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/oauthtoken/internal/refusals"
)

func judge(e *Error) refusals.Verdict {
	if v, ok := refusals.Reasons[e.Reason]; ok {
		return v
	}
	if e.Reason != "" && e.Code == "invalid_grant" {
		return refusals.Unknown
	}
	for _, t := range refusals.Texts {
		if strings.Contains(e.Description, t.Text) {
			return t.Verdict
		}
	}
	for _, code := range []string{e.Subtype, e.Code} {
		if v, ok := refusals.Codes[code]; ok {
			return v
		}
	}
	return refusals.Unknown
}

// Final reports whether the grant has ended, so that the server is not asked
// again of our own accord.
func (e *Error) Final() bool {
	return e.Class == ClassReauth && !e.AppOnly && (e.Code == "no_refresh_token" || judge(e) == refusals.Final)
}

// Passing reports whether the refusal is known to leave the grant intact.
func (e *Error) Passing() bool {
	return e.Class == ClassReauth && (e.AppOnly || judge(e) == refusals.Passing)
}

// AskAgain is when to ask again after the n-th refusal in a row: minutes at
// first, hours in the end, spread, so that 10,000 accounts that were refused in
// one minute do not come back in one.
func (e *Error) AskAgain(n int) time.Duration {
	const most = 8 * time.Hour
	first := time.Minute
	if e.Final() {
		return most
	}
	if !e.Passing() {
		first = 15 * time.Minute
	}
	d := Backoff(first, most, n)
	return d + rand.N(d/8+1)
}

// classify decides what an error response of a token endpoint means.
func classify(status int, code, reason string) Class {
	switch {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout,
		refusals.TransientCodes[code], refusals.TransientReasons[reason]:
		return ClassTransient
	// Of the other codes only these are the same for every account:
	// unauthorized_client and invalid_request also come for one tenant's user
	// or for one malformed token.
	case refusals.ClientCodes[code]:
		return ClassProvider
	case refusals.ClientReasons[reason]:
		return ClassTemporary
	case refusals.ReauthCodes[code]:
		return ClassReauth
	}
	return ClassTemporary
}

// clientRefused reports whether the server refuses the gateway's own app.
func (e *Error) clientRefused() bool {
	return e.Class == ClassProvider || refusals.ClientReasons[e.Reason] ||
		e.Class == ClassTemporary && (e.Code == "unauthorized_client" || e.Code == "invalid_tenant")
}

// Standings, as AccountStatus shows them.
const (
	StandingActive         = "active"
	StandingNotVerified    = "not_verified"
	StandingNeverConsented = "never_consented"
	StandingRefused        = "refused"
	StandingClientRefused  = "client_refused"
	StandingDamaged        = "damaged"
)

// Standing is what an error says of the grant; empty if it says nothing.
func (e *Error) Standing() string {
	switch {
	case e == nil:
	case e.Code == "no_refresh_token":
		return StandingNeverConsented
	case e.Class == ClassDamaged:
		return StandingDamaged
	case e.clientRefused():
		return StandingClientRefused
	case e.Class == ClassReauth:
		return StandingRefused
	}
	return ""
}

// trace is what Microsoft adds for its own support.
var trace = regexp.MustCompile(`\s*(Trace ID|Correlation ID|Timestamp):.*`)

// said is the server's own word, short enough for a reply.
func (e *Error) said() string {
	parts := make([]string, 0, 2)
	if e.Code != "" {
		parts = append(parts, e.Code)
	}
	if d := trace.ReplaceAllString(e.Description, ""); d != "" {
		parts = append(parts, printable.Cut(d, 200))
	}
	return ascii(strings.Join(parts, ": "))
}

// ascii makes text fit for an SMTP reply.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// Reply implements grant.Refusal: what a client is told, in words that are true.
func (e *Error) Reply() string {
	switch {
	case e.Code == "no_refresh_token" && !e.AppOnly:
		return "The mailbox has not consented yet: run `caddy smtp login` for this account"
	case e.Class == ClassDamaged:
		return "The stored token of this mailbox is damaged: run `caddy smtp login` for this account"
	case e.clientRefused():
		return "The provider does not accept the gateway's own credentials (" + e.said() + "): the operator must mend them"
	case e.Class == ClassReauth && e.AppOnly:
		return "The provider refuses the gateway's app for this mailbox (" + e.said() + "): an administrator must allow it"
	case e.Passing():
		return "The provider refuses this mailbox for now (" + e.said() + "); it is asked again"
	case e.Class == ClassReauth:
		return "" // the general words
	case e.Class == ClassStore:
		return "The gateway's token store does not work, try again later"
	case e.NoResources():
		return "The gateway is out of resources, try again later"
	case e.Class == ClassTemporary && e.Status != 0:
		return "The provider issues no token (" + e.said() + ")"
	case e.Class == ClassTemporary && e.Status == 0 && e.Err != nil && !e.waiting():
		return "The gateway cannot ask for a token, the operator must see its log"
	}
	return ""
}

// NoResources reports whether this machine, not the server, is in trouble.
func (e *Error) NoResources() bool {
	return exhausted.Is(e.Err)
}

// waiting reports whether it was only a matter of time.
func (e *Error) waiting() bool {
	return strings.HasPrefix(e.Description, "waiting for") || strings.HasPrefix(e.Description, "no access token in time")
}
