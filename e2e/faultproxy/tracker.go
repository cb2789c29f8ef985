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

package faultproxy

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tracker follows a session far enough to know when nothing is owed.
type tracker struct {
	owed     []string // the verbs that wait for their reply
	line     []byte   // of the client, so far
	chunk    int      // octets of a BDAT that are yet to come
	body     bool     // DATA's body is on its way
	matched  int      // octets of its end that have come
	reply    []byte   // of the provider, so far
	last     []byte   // the last whole reply
	answered string   // what it answered
	messages int      // ends of messages that were answered
	subject  string   // of the last message that had one at its beginning
}

const (
	greeting  = "(greeting)"
	bodyEnd   = "(end)"
	endOfBody = "\r\n.\r\n"
)

func newTracker() *tracker { return &tracker{owed: []string{greeting}} }

// pause reports whether all that was asked has been answered.
func (t *tracker) pause() bool {
	return len(t.owed) == 0 && len(t.line) == 0 && len(t.reply) == 0 && t.chunk == 0 && !t.body
}

// subject finds a message's, which comes with its first octets.
var subject = regexp.MustCompile(`Subject: (\d+)\r\n`)

// rests reports whether a message has ended before this pause, so that a client
// knows how this provider answers one.
func (t *tracker) rests() bool { return t.pause() && t.messages > 0 }

// ends reports whether a message has ended whose answer is owed.
func (t *tracker) ends() bool { return slices.Contains(t.owed, bodyEnd) }

// commands is told what the client sends.
func (t *tracker) commands(b []byte) {
	if m := subject.FindSubmatch(b); m != nil {
		t.subject = string(m[1])
	}
	for len(b) > 0 {
		switch {
		case t.chunk > 0:
			n := min(t.chunk, len(b))
			t.chunk -= n
			b = b[n:]
		case t.body:
			t.bodyOctet(b[0])
			b = b[1:]
		default:
			t.line = append(t.line, b[0])
			if b[0] == '\n' {
				t.command(strings.Fields(strings.ToUpper(string(t.line))))
				t.line = t.line[:0]
			}
			b = b[1:]
		}
	}
}

func (t *tracker) bodyOctet(c byte) {
	switch c {
	case endOfBody[t.matched]:
		t.matched++
	case '\r':
		t.matched = 1
	default:
		t.matched = 0
	}
	if t.matched == len(endOfBody) {
		t.body, t.owed = false, append(t.owed, bodyEnd)
	}
}

func (t *tracker) command(words []string) {
	verb := ""
	if len(words) > 0 {
		verb = words[0]
	}
	if verb == "BDAT" && len(words) > 1 {
		t.chunk, _ = strconv.Atoi(words[1])
		if len(words) > 2 {
			verb = bodyEnd
		}
	}
	t.owed = append(t.owed, verb)
}

// replies is told what the provider sends.
func (t *tracker) replies(b []byte) {
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			t.reply = append(t.reply, b...)
			return
		}
		start := bytes.LastIndexByte(t.reply, '\n') + 1
		t.reply = append(t.reply, b[:n]...)
		b = b[n:]
		if line := t.reply[start:]; len(line) > 3 && line[3] == '-' {
			continue
		}
		t.last = append(t.last[:0], t.reply...)
		t.reply = t.reply[:0]
		t.answered = ""
		if len(t.owed) > 0 {
			t.answered, t.owed = t.owed[0], t.owed[1:]
		}
		switch {
		case t.answered == bodyEnd:
			t.messages++
		case t.answered == "DATA" && bytes.HasPrefix(t.last, []byte("354")):
			t.body, t.matched = true, 2
		}
	}
}

// doublable reports whether the last reply may come twice. Where more of the
// same flight may be under way yet, only a client that knows how this provider
// answers a body can see it.
func (t *tracker) doublable() bool {
	switch t.answered {
	case greeting, bodyEnd, "EHLO", "AUTH":
		return t.pause()
	}
	return t.pause() && t.messages > 0
}
