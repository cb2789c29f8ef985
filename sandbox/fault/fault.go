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

// Package fault is the sandbox's table of what goes wrong on purpose. It knows stages
// and actions by name; what they do is the sandbox's. Table.mu is a leaf.
package fault

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// Fault is something that goes wrong on purpose, at one stage of the
// protocol, for the connections that it names. The first fault that matches
// an event is the one that happens; nothing about it is left to chance.
type Fault struct {
	// Stage is where it happens: `connect`, `banner`, `ehlo`, `starttls`,
	// `tls` (the handshake), `auth`, `ready` (behind the positive reply to AUTH
	// or to a message), `mail`, `rcpt`, `data` (the reply to
	// DATA), `bdat` (a BDAT command), `body` (amid the body), `end` (the
	// reply to the message), `rset`, `noop`, `quit`, or, over HTTP, `api_head`
	// (the head of the request is there), `api_body` (amid its body), `api` (all
	// of it is there, and nothing is kept), `api_end` (the message is kept) or
	// `api_user` (the question whose the token is).
	Stage string `json:"stage"`
	// Action is what happens: `refuse` (reset at accept), `hang` (no further
	// word), `close`, `reset` (TCP RST), `reply` (with Reply; a 421 closes),
	// `garbage`, `endless_multiline` (a reply that never ends), `long_line`
	// (a 4 MiB reply line), `delay` (by Delay, then on as usual),
	// `wrong_certificate` (stage `tls`: another authority, another name), or
	// `drop_after_accept` (stage `end`: the message is kept, the connection
	// dies before the reply).
	Action string `json:"action"`
	// Reply is the code and text for `reply`, without CRLF; lines of a
	// multi-line reply are separated by \n. Over HTTP it is a status and the
	// body as it is, or an error code and a message.
	Reply string `json:"reply,omitempty"`
	// RetryAfter is the header of that name of a `reply` over HTTP, in seconds.
	// Default: none.
	RetryAfter int `json:"retry_after,omitempty"`
	// Challenge is the header WWW-Authenticate of a `reply` over HTTP. Default: none.
	Challenge string `json:"challenge,omitempty"`
	// Delay is for `delay`.
	Delay caddy.Duration `json:"delay,omitempty"`

	// Mailbox limits it to one mailbox. Default: any.
	Mailbox string `json:"mailbox,omitempty"`
	// Nth is which RCPT of a transaction, or which BDAT chunk, is meant,
	// counted from 1. Default: any.
	Nth int `json:"nth,omitempty"`
	// AfterBytes is how much of the body has been read when `body` or
	// `api_body` happens. Default: 0, at its first bytes.
	AfterBytes int64 `json:"after_bytes,omitempty"`
	// Conn limits it to `fresh` connections, which have carried no message
	// yet, or to `pooled` ones, which have. Default: any.
	Conn string `json:"conn,omitempty"`
	// AfterMessages limits it to connections that have carried at least
	// this many messages. Default: 0.
	AfterMessages int `json:"after_messages,omitempty"`
	// Skip is the number of matches to let pass first. Default: 0.
	Skip int `json:"skip,omitempty"`
	// Times is how often it happens. Default: 0, always.
	Times int `json:"times,omitempty"`
}

// Status is a fault with its number and how often it has happened.
type Status struct {
	ID   uint64 `json:"id"`
	Hits int    `json:"hits"`
	Fault
}

var (
	stages = []string{
		"connect", "banner", "ehlo", "starttls", "tls", "auth", "ready", "mail", "rcpt", "data", "bdat", "body", "end",
		"rset", "noop", "quit", "api_head", "api_body", "api", "api_end", "api_user",
	}
	apiActions = []string{"reply", "delay", "hang", "close", "reset"}
	actions    = []string{
		"refuse", "hang", "close", "reset", "reply", "garbage", "endless_multiline", "long_line", "delay",
		"wrong_certificate", "drop_after_accept",
	}
)

// Validate reports what is wrong with a fault.
func (f *Fault) Validate() error {
	if !slices.Contains(stages, f.Stage) {
		return fmt.Errorf("unrecognized stage '%s': want one of %s", f.Stage, strings.Join(stages, ", "))
	}
	if !slices.Contains(actions, f.Action) {
		return fmt.Errorf("unrecognized action '%s': want one of %s", f.Action, strings.Join(actions, ", "))
	}
	switch {
	case f.Action == "reply" && !validReply(f.Reply):
		return fmt.Errorf("reply '%s': want a three-digit code and a text", f.Reply)
	case f.Action == "delay" && f.Delay <= 0:
		return fmt.Errorf("delay: must be positive")
	case f.Action == "wrong_certificate" && f.Stage != "tls":
		return fmt.Errorf("wrong_certificate happens at stage tls only")
	case f.Action == "drop_after_accept" && f.Stage != "end":
		return fmt.Errorf("drop_after_accept happens at stage end only")
	case f.Action == "refuse" && f.Stage != "connect":
		return fmt.Errorf("refuse happens at stage connect only")
	case f.Conn != "" && f.Conn != "fresh" && f.Conn != "pooled":
		return fmt.Errorf("unrecognized conn '%s': want fresh or pooled", f.Conn)
	case strings.HasPrefix(f.Stage, "api") && !slices.Contains(apiActions, f.Action):
		return fmt.Errorf("action '%s' does not happen over HTTP: want one of %s", f.Action, strings.Join(apiActions, ", "))
	case f.RetryAfter < 0 || f.RetryAfter > 0 && !strings.HasPrefix(f.Stage, "api"):
		return fmt.Errorf("retry_after: must be a positive number of seconds, at a stage of HTTP")
	case f.Challenge != "" && (f.Action != "reply" || !strings.HasPrefix(f.Stage, "api") || strings.ContainsAny(f.Challenge, "\r\n\x00")):
		return fmt.Errorf("challenge: one line of a reply, at a stage of HTTP")
	case f.Nth < 0 || f.AfterBytes < 0 || f.AfterMessages < 0 || f.Skip < 0 || f.Times < 0:
		return fmt.Errorf("nth, after_bytes, after_messages, skip and times must not be negative")
	}
	return nil
}

func validReply(s string) bool {
	if len(s) < 3 || strings.ContainsRune(s, '\r') {
		return false
	}
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) == 3 || s[3] == ' ' || s[3] == '-'
}

// Event is what a fault is matched against.
type Event struct {
	Mailbox string
	// Nth is which RCPT or BDAT it is.
	Nth int
	// Messages is what the connection has carried.
	Messages int
}

// Table is a table of faults. Looking into an empty one is one atomic load,
// since it happens at every command.
type Table struct {
	n  atomic.Int32
	mu sync.Mutex

	next uint64
	list []*active
}

type active struct {
	Fault
	id     uint64
	seen   int
	hits   int
	config bool
}

// Add adds a fault and returns its number. config says that the configuration has it.
func (t *Table) Add(f Fault, config bool) (uint64, error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	t.list = append(t.list, &active{Fault: f, id: t.next, config: config})
	t.n.Store(int32(len(t.list)))
	return t.next, nil
}

// Remove ends one fault.
func (t *Table) Remove(id uint64) { t.remove(func(f *active) bool { return f.id == id }) }

// Clear ends all faults.
func (t *Table) Clear() { t.remove(func(*active) bool { return true }) }

// ClearConfigured ends those that the configuration had.
func (t *Table) ClearConfigured() { t.remove(func(f *active) bool { return f.config }) }

func (t *Table) remove(which func(*active) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(slices.Clone(t.list), which)
	t.n.Store(int32(len(t.list)))
}

// List returns the faults and how often each has happened.
func (t *Table) List() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Status, 0, len(t.list))
	for _, f := range t.list {
		out = append(out, Status{ID: f.id, Hits: f.hits, Fault: f.Fault})
	}
	return out
}

// Take finds the fault for an event and counts it.
func (t *Table) Take(stage string, ev Event) (Fault, bool) {
	if t.n.Load() == 0 {
		return Fault{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.list {
		switch {
		case f.Stage != stage,
			f.Mailbox != "" && !strings.EqualFold(f.Mailbox, ev.Mailbox),
			f.Nth != 0 && f.Nth != ev.Nth,
			f.Conn == "fresh" && ev.Messages > 0,
			f.Conn == "pooled" && ev.Messages == 0,
			ev.Messages < f.AfterMessages,
			f.Times != 0 && f.hits >= f.Times:
			continue
		}
		if f.seen++; f.seen <= f.Skip {
			continue
		}
		f.hits++
		return f.Fault, true
	}
	return Fault{}, false
}
