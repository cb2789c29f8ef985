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

package envelope

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ParseError says that a reader could see other recipients in a message than
// another.
type ParseError struct {
	err error
	// From: it is about the sender.
	From bool
}

func (e *ParseError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *ParseError) Unwrap() error { return e.err }

// BeyondError says that the header names recipients that the envelope does not.
type BeyondError struct {
	// Addresses are those, each once.
	Addresses []string
}

func (e *BeyondError) Error() string {
	return "the header names recipients that the envelope does not: " + strings.Join(e.Addresses, ", ")
}

// Message is a message that goes to the envelope's recipients and to no other
// when an API delivers to those that its header names.
type Message struct {
	// Head goes in front of Rest; it is empty if nothing has to be added.
	Head []byte
	// Rest is the message, all of it unless it was rewritten, or Head names the
	// recipients of its Bcc fields.
	Rest []byte
	// From are the addresses of the From fields.
	From []string
	// Rewritten are the recipients that were taken out of the header.
	Rewritten []string
}

// Fit compares the recipients of a message with those of the envelope. A
// recipient that no field names is added in a field Bcc in front of all others,
// which takes the place of the message's own Bcc fields: of two, a provider could
// heed one. For the same reason it repeats the recipients of To and Cc where these
// stand there twice. A field of recipients with a line beyond 998 octets is folded. If a field names an address that is not in the envelope, the
// error is a BeyondError, unless rewrite is set: then it is taken out of its field.
func Fit(msg []byte, rcpts []string, rewrite bool) (*Message, error) {
	fields, _, err := header(msg)
	if err != nil {
		return nil, &ParseError{err: err}
	}
	f := newFitting(fields)
	addrs := make([]string, len(rcpts))
	for i, r := range rcpts {
		if addrs[i], err = Parse(r); err != nil {
			return nil, &ParseError{err: fmt.Errorf("recipient '%s': %w", r, err)}
		}
		f.wanted[key(addrs[i])] = true
	}
	for _, fl := range fields {
		if err := f.add(fl, fl.body(msg)); err != nil {
			return nil, &ParseError{fmt.Errorf("field '%s': %w", fl.name, err), kindOf(fl.name) == from}
		}
	}
	if len(f.beyond) > 0 && !rewrite {
		return nil, &BeyondError{f.beyond}
	}
	m := &Message{Rest: msg, From: f.from, Rewritten: f.beyond}
	if missing := f.missing(addrs); len(missing) > 0 {
		m.Head = []byte("Bcc: " + strings.Join(missing, ",\r\n ") + "\r\n")
		for i := range f.fields {
			if c := &f.fields[i]; strings.EqualFold(c.name, "bcc") {
				c.kept, c.changed = nil, true
			}
		}
	}
	if m.Rest, err = rebuild(msg, f.fields); err != nil {
		return nil, &ParseError{err: err}
	}
	return m, nil
}

// fitting is what is found in a header that is to fit an envelope. Addresses are
// known by their keys.
type fitting struct {
	wanted map[string]bool // the envelope's
	times  map[string]int  // how often a field stands there, by its name in lower case
	from   []string
	fields []change        // those with recipients
	named  map[string]bool // by To and Cc
	blind  map[string]bool // by Bcc
	beyond []string        // what the envelope does not have, each once
	found  map[string]bool // the keys of those
}

func newFitting(fields []field) *fitting {
	f := &fitting{
		wanted: make(map[string]bool), times: make(map[string]int),
		named: make(map[string]bool), blind: make(map[string]bool), found: make(map[string]bool),
	}
	for _, fl := range fields {
		f.times[strings.ToLower(fl.name)]++
	}
	return f
}

// errTwoFroms is about a message that says more than once who sends it.
var errTwoFroms = errors.New("there is more than one")

// add reads a field.
func (f *fitting) add(fl field, body string) error {
	kind := kindOf(fl.name)
	if kind == other {
		return nil
	}
	boxes, err := list(body)
	switch {
	case err != nil && kind == from:
		return fmt.Errorf("%w; an @ in a name needs quotes", err)
	case err != nil:
		return err
	}
	if kind == from {
		if f.times["from"] > 1 {
			// Which of them decides whether the mailbox may send it, and which
			// the recipient sees, is not said anywhere (RFC 5322 section 3.6 has one).
			return errTwoFroms
		}
		for _, b := range boxes {
			f.from = append(f.from, b.Address)
		}
		return nil
	}
	once := f.times[strings.ToLower(fl.name)] == 1
	// Readers cut a line that is too long, and an address with it.
	c := change{field: fl, changed: fl.long}
	for _, b := range boxes {
		k := key(b.Address)
		switch {
		case !f.wanted[k]:
			c.changed = true
			if !f.found[k] {
				f.found[k] = true
				f.beyond = append(f.beyond, b.Address)
			}
			continue
		case kind == recipient && once:
			f.named[k] = true
		case kind == blind && once:
			f.blind[k] = true
		}
		c.kept = append(c.kept, b)
	}
	f.fields = append(f.fields, c)
	return nil
}

// missing are the addresses that a field Bcc has to name, each once: those that
// To and Cc do not, unless the message's own Bcc field names all of them.
func (f *fitting) missing(addrs []string) []string {
	var missing []string
	all := true
	listed := make(map[string]bool)
	for _, addr := range addrs {
		k := key(addr)
		if f.named[k] || listed[k] {
			continue
		}
		listed[k] = true
		missing = append(missing, addr)
		all = all && f.blind[k]
	}
	if all {
		return nil
	}
	return missing
}

// What a field is for.
const (
	other = iota
	from
	recipient
	blind
	resent // of an earlier hand: a provider may deliver to it or not
)

func kindOf(name string) int {
	switch strings.ToLower(name) {
	case "from":
		return from
	case "to", "cc":
		return recipient
	case "bcc":
		return blind
	case "resent-to", "resent-cc", "resent-bcc":
		return resent
	}
	return other
}

// change is a field with recipients and what it is to hold.
type change struct {
	field
	kept    []Mailbox
	changed bool
}

// rebuild writes the message with the changed fields, an address a line; one that
// would be empty is left out.
func rebuild(msg []byte, fields []change) ([]byte, error) {
	if !slices.ContainsFunc(fields, func(c change) bool { return c.changed }) {
		return msg, nil
	}
	out := make([]byte, 0, len(msg))
	at := 0
	for _, c := range fields {
		if !c.changed {
			continue
		}
		out = append(out, msg[at:c.begin]...)
		at = c.end
		for i, b := range c.kept {
			if b.long() {
				return nil, fmt.Errorf("field '%s': %w: an address whose line is longer than %d octets", c.name, errAddress, maxLine)
			}
			if i == 0 {
				out = append(out, c.name+": "...)
			} else {
				out = append(out, ",\r\n "...)
			}
			out = append(out, b.raw...)
		}
		if len(c.kept) > 0 {
			out = append(out, "\r\n"...)
		}
	}
	return append(out, msg[at:]...), nil
}

// long reports whether a line of the mailbox would be too long.
func (b *Mailbox) long() bool {
	for line := range strings.SplitSeq(b.raw, "\n") {
		if len(line) > maxLine-len("Resent-Bcc: ,") {
			return true
		}
	}
	return false
}
