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
	"fmt"
	"slices"
	"strings"
)

// ParseError says that a reader could see other recipients in a message than
// another.
type ParseError struct{ err error }

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
	// Rest is the message, all of it unless it was rewritten.
	Rest []byte
	// From are the addresses of the From fields.
	From []string
	// Rewritten are the recipients that were taken out of the header.
	Rewritten []string
}

// Len is the length of the whole.
func (m *Message) Len() int { return len(m.Head) + len(m.Rest) }

// Fit compares the recipients of a message with those of the envelope. A
// recipient that no field names is added in a field Bcc in front of all others.
// If a field names one that is not in the envelope, the error is a BeyondError,
// unless rewrite is set: then it is taken out of its field.
func Fit(msg []byte, rcpts []string, rewrite bool) (*Message, error) {
	fields, _, err := header(msg)
	if err != nil {
		return nil, &ParseError{err}
	}
	wanted := make(map[string]bool, len(rcpts))
	for _, r := range rcpts {
		addr, err := Parse(r)
		if err != nil {
			return nil, &ParseError{fmt.Errorf("recipient '%s': %w", r, err)}
		}
		wanted[key(addr)] = true
	}
	m := &Message{Rest: msg}
	named := make(map[string]bool)
	var changed []change
	for _, f := range fields {
		kind := kindOf(f.name)
		if kind == other {
			continue
		}
		boxes, err := list(f.body)
		if err != nil {
			return nil, &ParseError{fmt.Errorf("field '%s': %w", f.name, err)}
		}
		if kind == from {
			for _, b := range boxes {
				m.From = append(m.From, b.Address)
			}
			continue
		}
		kept := boxes[:0:0]
		for _, b := range boxes {
			k := key(b.Address)
			if !wanted[k] {
				if !slices.ContainsFunc(m.Rewritten, func(a string) bool { return key(a) == k }) {
					m.Rewritten = append(m.Rewritten, b.Address)
				}
				continue
			}
			kept = append(kept, b)
			// A field of an earlier hand may not count: then the address
			// stands in two fields, which does no harm.
			named[k] = named[k] || kind == recipient
		}
		if len(kept) < len(boxes) {
			changed = append(changed, change{f, kept})
		}
	}
	if len(changed) > 0 {
		if !rewrite {
			return nil, &BeyondError{m.Rewritten}
		}
		m.Rest = rebuild(msg, changed)
	}
	var missing []string
	for _, r := range rcpts {
		addr, _ := Parse(r)
		if k := key(addr); !named[k] {
			named[k] = true
			missing = append(missing, addr)
		}
	}
	if len(missing) > 0 {
		m.Head = []byte("Bcc: " + strings.Join(missing, ",\r\n ") + "\r\n")
	}
	return m, nil
}

// What a field is for.
const (
	other = iota
	from
	recipient
	resent // of an earlier hand: a provider may deliver to it or not
)

func kindOf(name string) int {
	switch strings.ToLower(name) {
	case "from":
		return from
	case "to", "cc", "bcc":
		return recipient
	case "resent-to", "resent-cc", "resent-bcc":
		return resent
	}
	return other
}

// change is a field and what it is to hold.
type change struct {
	field
	kept []Mailbox
}

// rebuild writes the message with the changed fields; one that would be empty
// is left out.
func rebuild(msg []byte, changed []change) []byte {
	out := make([]byte, 0, len(msg))
	at := 0
	for _, c := range changed {
		out = append(out, msg[at:c.begin]...)
		at = c.end
		for i, b := range c.kept {
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
	return append(out, msg[at:]...)
}
