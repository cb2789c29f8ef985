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

package connect

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/caddymail/mailgateway/internal/once"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

const (
	flowTimeout    = 10 * time.Minute
	outcomeTimeout = 10 * time.Minute
	// maxFlows and maxOutcomes are what a browser may have of each: all together stay
	// within the 8 KiB of a request's header that proxies let through.
	maxFlows, maxOutcomes = 4, 4

	flowPrefix, outcomePrefix = "smtp-connect-flow-", "smtp-connect-end-"
)

// redeeming has each flow finished once, by its state. A browser that asks again before it
// has the answer, by a reload or a second click, still has the flow's cookie; its code is
// good for one request, and a server that sees it twice may take back what it gave for
// the first (RFC 6749 section 4.1.2). What asks again gets the first's outcome.
//
// It is the process's, so that a reload between the two changes nothing, and bounds who
// waits. Between nodes the invitation's record does the same ([Invitations.once]).
var redeeming = once.New[outcome](4096, flowTimeout)

// flow is a consent under way, as its cookie holds it.
type flow struct {
	Login authserver.FlowState `json:"l"`
	// Token is the invitation's: the browser goes back to its page.
	Token string    `json:"t"`
	Begun time.Time `json:"b"`
}

// flowCookie is the name of a flow's cookie. Each flow has its own, so that two
// windows are not in each other's way.
func flowCookie(state string) string { return flowPrefix + short(state) }

// outcomeCookie is the name of the cookie with the last outcome of an invitation.
func outcomeCookie(token string) string { return outcomePrefix + short(token) }

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
