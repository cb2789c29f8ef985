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

package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/seal"
)

// Event is what a line of the journal tells.
type Event string

const (
	EventTry      Event = "try"      // written before the attempt
	EventResult   Event = "result"   // of an attempt
	EventSent     Event = "sent"     // the provider said 250
	EventHold     Event = "hold"     // nothing is tried until it is released
	EventRelease  Event = "release"  // by an operator: held or not, it is due at once
	EventReport   Event = "report"   // written before what is owed since earlier is said
	EventReported Event = "reported" // what was owed is said
)

// known reports whether an event is one of these: what another one would say, nobody
// knows here.
func (e Event) known() bool {
	switch e {
	case EventTry, EventResult, EventSent, EventHold, EventRelease, EventReport, EventReported:
		return true
	}
	return false
}

// Line is one line of the journal.
type Line struct {
	At    time.Time `json:"at"`
	Event Event     `json:"event"`
	// Next is when the next attempt is due.
	Next time.Time `json:"next,omitzero"`
	// Asked is the time before which the provider wants no other attempt.
	Asked time.Time `json:"asked,omitzero"`
	// Peer is the upstream that the message was handed over to, in place of the
	// account's own.
	Peer string `json:"peer,omitempty"`
	// Sent and Refused are recipients that are settled, by their index.
	Sent    []int `json:"sent,omitempty"`
	Refused []int `json:"refused,omitempty"`
	// Owed are refused recipients of whom a report is to be made, Reported those of
	// whom it was made: what is owed when the process dies is made by the next one.
	Owed     []int `json:"owed,omitempty"`
	Reported []int `json:"reported,omitempty"`
	// Replies are the provider's words, to recipients by index; -1 is the
	// message's, which an empty one repeats.
	Replies map[int]string `json:"replies,omitempty"`
	// Why says why it is held.
	Why string `json:"why,omitempty"`
	// Mailbox is whose the message is from a release on.
	Mailbox string `json:"mailbox,omitempty"`
	// Lost is how much of the journal could not be read when an operator released the
	// message all the same.
	Lost int64 `json:"lost,omitempty"`
	// Clock is what the spool's clock shows, and Age how old the message is by it, in
	// milliseconds: At is what the host's clock says, which may be wrong.
	Clock Reading `json:"clock,omitzero"`
	Age   int64   `json:"age,omitempty"`
}

// shortest is how much is kept at least of a reply: its codes.
const shortest = 16

// encode returns a line as a frame can hold it, and shortens its replies for that: to
// many recipients, there can be more of them than a frame has room for.
func encode(l *Line) ([]byte, error) {
	b, err := json.Marshal(l)
	for most := 512; err == nil && len(b) > maxFrame/2; most /= 2 {
		if most < shortest {
			return nil, fmt.Errorf("a line of the journal has %d octets", len(b))
		}
		for i, reply := range l.Replies {
			l.Replies[i] = printable.Cut(reply, most)
		}
		b, err = json.Marshal(l)
	}
	return b, err
}

// Append adds a line to the journal, whose replies it shortens where the line would be
// too long. It is durable after a sync.
func (r *File) Append(l *Line) error {
	b, err := encode(l)
	if err != nil {
		return err
	}
	if err := r.write(frameJournal, b); err != nil {
		return err
	}
	// Nothing of a torn line may stay behind it: it would be judged with the next one.
	_, _ = r.f.WriteAt(make([]byte, max(4, r.remains-int64(len(r.buf)))), r.at.off)
	r.remains = 0
	r.lines++
	return nil
}

// Lines is how many lines the journal has that can be read.
func (r *File) Lines() int { return r.lines }

// Lost is how many octets of the journal Journal could not read, in front of lines
// that it could: what they said is not known.
func (r *File) Lost() int64 { return r.lost }

// Journal reads the journal and stands at its end, where the next line goes: behind
// all that can be read.
func (r *File) Journal() ([]Line, error) {
	var lines []Line
	r.lost, r.remains, r.lines = 0, 0, 0
	for {
		kind, b, err := r.read()
		switch {
		case kind == 0 && err == nil, errors.Is(err, ErrDamaged):
			bad := r.at.off
			more, end, err := r.resume()
			if err == nil && !more {
				return lines, r.judge(end)
			}
			if err != nil {
				return nil, err
			}
			r.lost += r.at.off - bad
			continue
		case err != nil:
			return nil, err
		case kind != frameJournal:
			return nil, fmt.Errorf("%w: a record of an unknown kind", ErrDamaged)
		}
		var l Line
		if err := json.Unmarshal(b, &l); err != nil {
			return nil, fmt.Errorf("%w: malformed journal", ErrDamaged)
		}
		if !l.Event.known() || !r.has(l.Sent, l.Refused, l.Owed, l.Reported) {
			return nil, fmt.Errorf("%w: a line of the journal says what nobody knows here", ErrDamaged)
		}
		lines = append(lines, l)
		r.lines++
	}
}

// has reports whether the message has such recipients.
func (r *File) has(lists ...[]int) bool {
	for _, list := range lists {
		for _, i := range list {
			if i < 0 || i >= r.rcpts {
				return false
			}
		}
	}
	return true
}

const (
	// scanned is how much is read at a time where a frame is looked for.
	scanned = 8 << 10
	// maxTried bounds what is read of what only looks like frames, in octets.
	maxTried = 16 * maxFrame
)

// resume looks for a whole frame behind a place that has none, and stands there. If
// there is none, end is where the last octet is that is not zero, and one.
// What is left of a torn line has none: a line has no octet of zero, with which each
// length begins, and what is sealed no place but its own.
func (r *File) resume() (found bool, end int64, err error) {
	bad := r.at
	defer func() {
		if !found {
			r.at = bad
		}
	}()
	buf := make([]byte, scanned)
	tried := 0
	end = bad.off
	for off := bad.off; ; off += scanned - frameHead + 1 {
		n, err := r.f.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, 0, err
		}
		if used := len(bytes.TrimRight(buf[:n], "\x00")); used > 0 {
			end = off + int64(used)
		}
		for rest := buf[:n]; len(rest) >= frameHead; rest = rest[1:] {
			length := binary.BigEndian.Uint32(rest)
			if length == 0 || length > maxFrame || frameKind(rest[4]) != frameJournal || len(rest) == n && off == bad.off {
				continue
			}
			if tried += int(length); tried > maxTried {
				return false, 0, fmt.Errorf("%w: its journal", ErrDamaged)
			}
			r.at.off = off + int64(n-len(rest))
			if ok, err := r.whole(bad); ok || err != nil {
				return ok, 0, err
			}
		}
		if n < len(buf) {
			return false, end, nil
		}
	}
}

// whole reports whether a whole frame is where the file stands, behind a bad place,
// and sets its number.
func (r *File) whole(bad place) (bool, error) {
	kind, b, err := r.raw()
	switch {
	case errors.Is(err, ErrDamaged) || kind == 0 && err == nil:
		return false, nil
	case err != nil:
		return false, err
	case r.keyID == "":
		return true, nil
	}
	// It is not known how many frames the gap has.
	most := int(r.at.off-bad.off)/(frameHead+seal.NonceSize) + 1
	for r.at.index = bad.index + 1; r.at.index <= bad.index+most; r.at.index++ {
		_, err := r.open(kind, b)
		if !errors.Is(err, ErrDamaged) {
			return err == nil, err
		}
	}
	return false, nil
}
