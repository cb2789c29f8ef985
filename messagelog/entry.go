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

package messagelog

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Entry is what is known of one transaction. Strings that come from clients and
// providers are shown as they were: whatever shows an entry must escape them.
type Entry struct {
	// Time is when the transaction ended. It stands first in a record, where
	// it is read without the rest.
	Time time.Time `json:"time"`
	// ID is the transaction's id in the access log.
	ID string `json:"id"`
	// Server is the server's name, Account the account's.
	Server  string `json:"server"`
	Account string `json:"account"`
	// ClientIP is the device's address; empty over a unix socket.
	ClientIP string `json:"client_ip,omitempty"`
	// From is the sender of the envelope; empty is the null sender.
	From string `json:"from"`
	// Recipients are those that were tried, in their order.
	Recipients []Recipient `json:"recipients"`
	// MoreRecipients is how many more there were than are kept.
	MoreRecipients int `json:"more_recipients,omitempty"`
	// Size is the message's size in octets, as far as it came.
	Size int64 `json:"size"`
	// Outcome says in one word what became of it.
	Outcome Outcome `json:"outcome"`
	// Code and Reply are the final word; no code if the client left before.
	Code  int    `json:"code,omitempty"`
	Reply string `json:"reply,omitempty"`
	// QueueID is the provider's name for the message, if its reply has one.
	QueueID string `json:"queue_id,omitempty"`
	// SpoolID is the id of a message that was kept to be sent later.
	SpoolID string `json:"spool_id,omitempty"`
	// TraceID is the trace's, of a message that was sampled.
	TraceID string `json:"trace_id,omitempty"`
	// Upstream is the upstream that it went through.
	Upstream string `json:"upstream,omitempty"`
	// Duration is the time from MAIL to the end, Wait the part of it in which
	// the message waited for quota or a connection, in milliseconds.
	Duration int64 `json:"duration_ms"`
	Wait     int64 `json:"wait_ms,omitempty"`
}

// Recipient is one recipient and what was said to it.
type Recipient struct {
	// Address is as the client gave it, or `#` and a keyed hash of it.
	Address string `json:"address"`
	// Code and Reply are the refusal; none if the recipient was accepted.
	Code  int    `json:"code,omitempty"`
	Reply string `json:"reply,omitempty"`
}

// Outcome is what became of a transaction.
type Outcome string

// The outcomes.
const (
	// Delivered was accepted by the provider for every recipient.
	Delivered Outcome = "delivered"
	// Partly was accepted, but not for every recipient.
	Partly Outcome = "partly"
	// Spooled is kept by the gateway, to be sent later.
	Spooled Outcome = "spooled"
	// Deferred was refused for now (4yz): the client should try again.
	Deferred Outcome = "deferred"
	// Refused was refused for good (5yz).
	Refused Outcome = "refused"
	// Aborted was given up by the client.
	Aborted Outcome = "aborted"
)

// Failed reports whether something of the message did not go out.
func (e *Entry) Failed() bool { return e.Outcome != Delivered && e.Outcome != Spooled }

// judge says what became of the transaction.
func (e *Entry) judge() Outcome {
	refused := false
	for i := range e.Recipients {
		refused = refused || e.Recipients[i].Code != 0
	}
	switch class := e.Code / 100; {
	case class == 2 && refused:
		return Partly
	case class == 2 && e.SpoolID != "":
		return Spooled
	case class == 2:
		return Delivered
	case class == 4:
		return Deferred
	case class == 5:
		return Refused
	}
	return Aborted
}

// Bounds of an entry, so that no client makes a large one.
const (
	maxText       = 1000 // octets of a reply
	maxAddress    = 400  // octets of an address
	maxRecipients = 1000
)

// bound cuts off what is beyond the bounds. What it changes are copies: a reply
// is shared with the session.
func (e *Entry) bound() {
	if n := len(e.Recipients) - maxRecipients; n > 0 {
		e.drop(n)
	}
	e.From, e.Reply = clip(e.From, maxAddress), clip(e.Reply, maxText)
	for i := range e.Recipients {
		r := &e.Recipients[i]
		r.Address, r.Reply = clip(r.Address, maxAddress), clip(r.Reply, maxText)
	}
}

// drop leaves the last n recipients out.
func (e *Entry) drop(n int) {
	keep := len(e.Recipients) - n
	e.Recipients = e.Recipients[:keep:keep]
	e.MoreRecipients += n
}

// octets is about what the entry takes in memory.
func (e *Entry) octets() int {
	n := 400 + len(e.Account) + len(e.From) + len(e.Reply)
	for i := range e.Recipients {
		n += 64 + len(e.Recipients[i].Address) + len(e.Recipients[i].Reply)
	}
	return n
}

// clip shortens a text to n octets at most, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	// A copy: a slice would hold on to the whole.
	return strings.Clone(s[:n])
}
