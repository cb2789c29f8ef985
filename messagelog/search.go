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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query chooses transactions; an empty field chooses all.
type Query struct {
	// Account is the account's name, whatever its case.
	Account string
	// Recipient is a part of a recipient's address, whatever its case. A hashed
	// one is found by the whole address.
	Recipient string
	// ID is the transaction's id or the beginning of it up to its dot (a session's), the
	// provider's, the spool's or the trace's; what stands in a reply as `mg-ID` too.
	ID string
	// ClientIP is the device's address.
	ClientIP string
	// Server and Upstream are their names.
	Server, Upstream string
	// Text is a part of the sender, of a reply or of any of the above.
	Text string
	// Since and Until bound the time: from Since, before Until.
	Since, Until time.Time
	// Failed chooses those of which something did not go out.
	Failed bool
	// Limit bounds the answer. Default: 100, at most 1000.
	Limit int
	// Cursor is the Next of the page before.
	Cursor string
}

// Page is a part of an answer, newest first.
type Page struct {
	Messages []*Entry `json:"messages"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

const (
	defaultLimit = 100
	maxLimit     = 1000
	// flushTimeout bounds how long a search waits for what is being written.
	flushTimeout = time.Second
)

// ErrCursor is about a cursor that is none of ours.
var ErrCursor = errors.New("the cursor is malformed")

// position is where a record stands.
type position struct {
	seq    uint64
	offset int64
}

func (p position) String() string { return fmt.Sprintf("%x.%x", p.seq, p.offset) }

func parsePosition(s string) (p position, err error) {
	seq, offset, ok := strings.Cut(s, ".")
	if !ok {
		return p, ErrCursor
	}
	if p.seq, err = strconv.ParseUint(seq, 16, 64); err != nil {
		return p, ErrCursor
	}
	if p.offset, err = strconv.ParseInt(offset, 16, 64); err != nil || p.offset < 0 {
		return p, ErrCursor
	}
	return p, nil
}

// Search finds transactions, the newest first. It reads the disk; two searches
// run at a time and others wait. What Add took before is found.
func (l *Log) Search(ctx context.Context, q Query) (Page, error) {
	page := Page{Messages: []*Entry{}}
	before := position{seq: ^uint64(0)}
	if q.Cursor != "" {
		var err error
		if before, err = parsePosition(q.Cursor); err != nil {
			return page, err
		}
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return page, ctx.Err()
	}
	wait, cancel := context.WithTimeout(ctx, flushTimeout)
	st, hash, err := l.flush(wait)
	cancel()
	if err != nil {
		return page, err
	}
	if oldest := time.Now().Add(-time.Duration(l.config().Keep)); q.Since.Before(oldest) {
		q.Since = oldest // what is about to be removed is not shown
	}
	m := newMatcher(q, hash)
	var last position
	for _, seg := range st.snapshot() {
		if err := ctx.Err(); err != nil {
			return page, err
		}
		if seg.seq > before.seq || seg.count == 0 || seg.last.Before(q.Since) || !q.Until.IsZero() && !seg.first.Before(q.Until) {
			continue
		}
		content, err := readSegment(seg.path, seg.size)
		if errors.Is(err, fs.ErrNotExist) {
			continue // too old by now
		}
		if err != nil {
			return page, fmt.Errorf("%s: %w", seg.path, err)
		}
		for at, line := range newestFirst(content) {
			if seg.seq == before.seq && at >= before.offset {
				continue
			}
			e := m.match(line)
			if e == nil {
				continue
			}
			if len(page.Messages) == m.limit {
				page.Next = last.String()
				return page, nil
			}
			page.Messages = append(page.Messages, e)
			last = position{seg.seq, at}
		}
	}
	return page, nil
}

// newestFirst returns the lines of a segment and where they begin, the last first.
func newestFirst(content []byte) func(yield func(int64, []byte) bool) {
	type span struct {
		at   int64
		line []byte
	}
	var lines []span
	eachLine(content, func(at int64, line []byte) { lines = append(lines, span{at, line}) })
	return func(yield func(int64, []byte) bool) {
		for _, s := range slices.Backward(lines) {
			if !yield(s.at, s.line) {
				return
			}
		}
	}
}

// matcher decides of one record after the other.
type matcher struct {
	q       Query
	limit   int
	needles [][]byte // that a record must hold as it stands, to be looked at closer
	lower   []byte   // that it must hold whatever the case, or the hash
	text    string
	hashed  string // the recipient's hash
}

func newMatcher(q Query, hash *hasher) *matcher {
	m := &matcher{q: q, limit: q.Limit, text: strings.ToLower(q.Text)}
	if m.limit <= 0 {
		m.limit = defaultLimit
	}
	m.limit = min(m.limit, maxLimit)
	if hash != nil && q.Recipient != "" {
		m.hashed = hash.address(q.Recipient)
		if strings.HasPrefix(q.Recipient, hashMark) {
			m.hashed = q.Recipient
		}
	}
	m.q.Recipient = strings.ToLower(q.Recipient)
	m.q.ID = strings.TrimPrefix(strings.Trim(q.ID, "[]"), "mg-")
	for _, exact := range []string{m.q.ID, q.ClientIP} {
		if exact == "" {
			continue
		}
		m.needles = append(m.needles, asStored(exact))
	}
	for _, part := range []string{m.q.Recipient, m.text} {
		if part != "" && m.lower == nil {
			m.lower = asStored(part)
		}
	}
	return m
}

// asStored is how a text stands in a record.
func asStored(s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return quoted[1 : len(quoted)-1]
}

// match returns the entry of a line that is asked for, or nil.
func (m *matcher) match(line []byte) *Entry {
	for _, n := range m.needles {
		if !bytes.Contains(line, n) {
			return nil
		}
	}
	if m.lower != nil && !bytes.Contains(bytes.ToLower(line), m.lower) && (m.hashed == "" || !bytes.Contains(line, []byte(m.hashed))) {
		return nil
	}
	e, err := decodeRecord(line)
	if err != nil || !m.matches(e) {
		return nil
	}
	return e
}

func (m *matcher) matches(e *Entry) bool {
	q := &m.q
	switch {
	case e.Time.Before(q.Since), !q.Until.IsZero() && !e.Time.Before(q.Until):
	case q.Failed && !e.Failed():
	case q.Account != "" && !strings.EqualFold(q.Account, e.Account):
	case q.Server != "" && q.Server != e.Server, q.Upstream != "" && q.Upstream != e.Upstream:
	case q.ClientIP != "" && q.ClientIP != e.ClientIP:
	case q.ID != "" && !e.isCalled(q.ID):
	case q.Recipient != "" && !m.hasRecipient(e):
	case m.text != "" && !e.says(m.text):
	default:
		return true
	}
	return false
}

func (m *matcher) hasRecipient(e *Entry) bool {
	return slices.ContainsFunc(e.Recipients, func(r Recipient) bool {
		return m.hashed != "" && r.Address == m.hashed || strings.Contains(strings.ToLower(r.Address), m.q.Recipient)
	})
}

// isCalled reports whether the id is one of the transaction's.
func (e *Entry) isCalled(id string) bool {
	return id == e.ID || id == e.QueueID || id == e.SpoolID || id == e.TraceID || strings.HasPrefix(e.ID, id+".")
}

// says reports whether a text, which is in lower case, stands in the entry.
func (e *Entry) says(text string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	if has(e.From) || has(e.Reply) || has(e.Account) || has(e.ID) || has(e.QueueID) || has(e.SpoolID) ||
		has(e.ClientIP) || has(e.Server) || has(e.Upstream) {
		return true
	}
	return slices.ContainsFunc(e.Recipients, func(r Recipient) bool { return has(r.Address) || has(r.Reply) })
}
