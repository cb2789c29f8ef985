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
	"context"
	"encoding/hex"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Message is a message that the provider accepted.
type Message struct {
	// ID counts from 1, in the order of acceptance.
	ID uint64 `json:"id"`
	// Time is when it was accepted.
	Time time.Time `json:"time"`
	// Conn is the number of the connection that it came on.
	Conn uint64 `json:"conn"`
	// Mailbox is the authenticated mailbox: `user=`.
	Mailbox string `json:"mailbox"`
	// From is the envelope sender, Params are MAIL's parameters.
	From   string `json:"from"`
	Params string `json:"params,omitempty"`
	// Rcpts are the accepted recipients, RcptParams their parameters (nil
	// if none had any), Refused the others.
	Rcpts      []string `json:"rcpts"`
	RcptParams []string `json:"rcpt_params,omitempty"`
	Refused    []string `json:"refused,omitempty"`
	// Size is the number of bytes of the message, without dot-stuffing.
	Size int64 `json:"size"`
	// SHA256 is in hex; empty under no_hash.
	SHA256 string `json:"sha256,omitempty"`
	// Framing is `DATA` or `BDAT`; Chunks is the number of BDAT commands.
	Framing string `json:"framing"`
	Chunks  int    `json:"chunks,omitempty"`
	// BareCR and BareLF report whether a CR or LF stood alone in it.
	BareCR bool `json:"bare_cr,omitempty"`
	BareLF bool `json:"bare_lf,omitempty"`
	// Body is kept under keep_bodies.
	Body []byte `json:"-"`

	// Sum is the SHA-256 if Hashed.
	Sum    [32]byte `json:"-"`
	Hashed bool     `json:"-"`
}

// MailboxStats is what the provider saw of one mailbox.
type MailboxStats struct {
	Messages   uint64 `json:"messages"`
	Recipients uint64 `json:"recipients"`
	// MaxPerMinute is the greatest number of messages within any 60
	// seconds; it is counted up to 65,536.
	MaxPerMinute int `json:"max_per_minute"`
	// Conns are authenticated connections: now, the greatest number at a
	// time, and in all.
	Conns      int    `json:"conns"`
	ConnsPeak  int    `json:"conns_peak"`
	ConnsTotal uint64 `json:"conns_total"`
	// Limited counts 432 and 454 replies and delayed messages.
	Limited uint64 `json:"limited"`
	// AuthOK and AuthFailed count the results of AUTH.
	AuthOK     uint64 `json:"auth_ok"`
	AuthFailed uint64 `json:"auth_failed"`
	// TokenPosts counts requests to the token endpoint, by grant.
	TokenPosts map[string]uint64 `json:"token_posts,omitempty"`
}

// Stats is what the provider saw in all.
type Stats struct {
	Messages   uint64 `json:"messages"`
	Bytes      uint64 `json:"bytes"`
	Conns      int    `json:"conns"`
	ConnsPeak  int    `json:"conns_peak"`
	ConnsTotal uint64 `json:"conns_total"`
	// Authenticated is the number of authenticated connections now.
	Authenticated int `json:"authenticated"`
	// TLSHandshakes and TLSResumed count completed handshakes.
	TLSHandshakes uint64 `json:"tls_handshakes"`
	TLSResumed    uint64 `json:"tls_resumed"`
	TLSFailed     uint64 `json:"tls_failed"`
	// Injected counts connections with plaintext behind STARTTLS.
	Injected uint64 `json:"injected"`
	// Commands counts commands by verb.
	Commands map[string]uint64 `json:"commands"`
	// Auth counts AUTH by result: ok, bad_token, expired, wrong_mailbox,
	// bad_password, malformed, cancelled, too_long, limited, fault.
	Auth map[string]uint64 `json:"auth"`
	// TokenPosts counts requests to the token endpoint by grant.
	TokenPosts map[string]uint64 `json:"token_posts"`
	// Mailboxes are the mailboxes that logged in or asked for a token.
	Mailboxes map[string]MailboxStats `json:"mailboxes"`
}

// maxKeptBodies bounds the bodies that are kept, in octets.
const maxKeptBodies = 64 << 20

// Recorder keeps what was received. The one lock that all messages share is
// held for a copy of a struct.
type Recorder struct {
	connsTotal, injected                 atomic.Uint64
	handshakes, resumed, handshakeFailed atomic.Uint64
	connsPeak                            atomic.Int64
	verbs                                []string
	commands                             []atomic.Uint64 // by verb

	mu        sync.Mutex
	ring      []Message // a ring of keep messages
	keep      int
	total     uint64 // accepted since the start or the last delete
	first     uint64 // total at the last delete
	bytes     uint64
	bodyBytes int64
	waiters   chan struct{} // closed at the next message, if not nil
	authBy    map[string]uint64
	tokenBy   map[string]uint64

	boxMu sync.RWMutex
	boxes map[string]*Box
}

// New returns a recorder that keeps a number of messages, and counts commands of
// these verbs.
func New(keep int, verbs []string) *Recorder {
	return &Recorder{
		verbs: verbs, commands: make([]atomic.Uint64, len(verbs)), keep: keep,
		boxes: make(map[string]*Box), authBy: make(map[string]uint64), tokenBy: make(map[string]uint64),
	}
}

// Command counts a command.
func (r *Recorder) Command(verb int) { r.commands[verb].Add(1) }

// Conn counts a connection, of which so many are open with it.
func (r *Recorder) Conn(open int) {
	for {
		peak := r.connsPeak.Load()
		if int64(open) <= peak || r.connsPeak.CompareAndSwap(peak, int64(open)) {
			break
		}
	}
	r.connsTotal.Add(1)
}

// Injected counts a connection with plaintext behind STARTTLS.
func (r *Recorder) Injected() { r.injected.Add(1) }

// Handshake counts a TLS handshake.
func (r *Recorder) Handshake(ok, resumed bool) {
	switch {
	case !ok:
		r.handshakeFailed.Add(1)
		return
	case resumed:
		r.resumed.Add(1)
	}
	r.handshakes.Add(1)
}

// Mailbox returns a mailbox's account of itself.
func (r *Recorder) Mailbox(name string) *Box {
	r.boxMu.RLock()
	m := r.boxes[name]
	r.boxMu.RUnlock()
	if m != nil {
		return m
	}
	r.boxMu.Lock()
	defer r.boxMu.Unlock()
	if m = r.boxes[name]; m == nil {
		m = &Box{Name: name}
		r.boxes[name] = m
	}
	return m
}

// Add makes a message an accepted one. From here on it counts, whatever
// becomes of the reply.
func (r *Recorder) Add(m *Message, box *Box) {
	now := m.Time.UnixNano()
	if box != nil {
		box.mu.Lock()
		box.stats.Messages++
		box.stats.Recipients += uint64(len(m.Rcpts))
		box.recent.expire(now)
		box.recent.add(now)
		box.stats.MaxPerMinute = max(box.stats.MaxPerMinute, box.recent.len())
		box.mu.Unlock()
	}
	r.mu.Lock()
	r.total++
	m.ID = r.total
	r.bytes += uint64(m.Size)
	i := int((m.ID - 1) % uint64(r.keep))
	if i < len(r.ring) {
		r.bodyBytes -= int64(len(r.ring[i].Body))
		r.ring[i] = *m
	} else {
		r.ring = append(r.ring, *m)
	}
	if len(m.Body) > 0 {
		r.bodyBytes += int64(len(m.Body))
		r.evict(m.ID)
	}
	if r.waiters != nil {
		close(r.waiters)
		r.waiters = nil
	}
	r.mu.Unlock()
}

// evict drops the oldest bodies while there are too many bytes of them.
func (r *Recorder) evict(last uint64) {
	if r.bodyBytes <= maxKeptBodies {
		return
	}
	for id := last - uint64(len(r.ring)) + 1; id < last && r.bodyBytes > maxKeptBodies; id++ {
		m := &r.ring[int((id-1)%uint64(r.keep))]
		r.bodyBytes -= int64(len(m.Body))
		m.Body = nil
	}
}

// Count is the number of messages since the start or the last Clear.
func (r *Recorder) Count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total - r.first
}

// Wait waits until done reports true; it asks at each message.
func (r *Recorder) Wait(ctx context.Context, done func() bool) error {
	for {
		r.mu.Lock()
		if r.waiters == nil {
			r.waiters = make(chan struct{})
		}
		ch := r.waiters
		r.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Auth counts the result of AUTH.
func (r *Recorder) Auth(box *Box, result string) {
	r.mu.Lock()
	r.authBy[result]++
	r.mu.Unlock()
	if box == nil {
		return
	}
	box.mu.Lock()
	switch result {
	case "ok":
		box.stats.AuthOK++
	case "limited":
		box.stats.Limited++
	default:
		box.stats.AuthFailed++
	}
	box.mu.Unlock()
}

// TokenPost counts a request to the token endpoint.
func (r *Recorder) TokenPost(mailbox, grant string) {
	r.mu.Lock()
	r.tokenBy[grant]++
	r.mu.Unlock()
	if mailbox == "" {
		return
	}
	box := r.Mailbox(mailbox)
	box.mu.Lock()
	if box.stats.TokenPosts == nil {
		box.stats.TokenPosts = make(map[string]uint64)
	}
	box.stats.TokenPosts[grant]++
	box.mu.Unlock()
}

// Messages copies what is kept of the IDs after `after`, at most limit.
func (r *Recorder) Messages(after uint64, limit int) []Message {
	r.mu.Lock()
	out := []Message{}
	oldest := max(r.total-uint64(len(r.ring)), r.first)
	for id := max(after, oldest) + 1; id <= r.total && len(out) < limit; id++ {
		if m := &r.ring[int((id-1)%uint64(r.keep))]; m.ID == id {
			out = append(out, *m)
		}
	}
	r.mu.Unlock()
	for i := range out {
		if out[i].Hashed {
			out[i].SHA256 = hex.EncodeToString(out[i].Sum[:])
		}
	}
	return out
}

// Resize changes how many messages are kept.
func (r *Recorder) Resize(keep int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if keep == r.keep {
		return
	}
	kept := min(len(r.ring), keep)
	old := make([]Message, 0, kept)
	for id := r.total - uint64(kept) + 1; id <= r.total; id++ {
		old = append(old, r.ring[int((id-1)%uint64(r.keep))])
	}
	r.keep = keep
	r.ring = make([]Message, min(r.total, uint64(keep)))
	r.bodyBytes = 0
	for _, m := range old {
		r.ring[int((m.ID-1)%uint64(keep))] = m
		r.bodyBytes += int64(len(m.Body))
	}
}

// Clear forgets all messages; IDs go on.
func (r *Recorder) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first = r.total
	for i := range r.ring {
		r.ring[i] = Message{}
	}
	r.bodyBytes, r.bytes = 0, 0
}

// Box is what the provider saw of one mailbox.
func (r *Recorder) Box(name string) MailboxStats {
	r.boxMu.RLock()
	box := r.boxes[name]
	r.boxMu.RUnlock()
	if box == nil {
		return MailboxStats{}
	}
	return box.snapshot()
}

// Stats is what the provider saw in all; so many connections are open.
func (r *Recorder) Stats(open int) Stats {
	st := Stats{
		Conns:         open,
		ConnsTotal:    r.connsTotal.Load(),
		ConnsPeak:     int(r.connsPeak.Load()),
		TLSHandshakes: r.handshakes.Load(),
		TLSResumed:    r.resumed.Load(),
		TLSFailed:     r.handshakeFailed.Load(),
		Injected:      r.injected.Load(),
		Commands:      make(map[string]uint64),
		Auth:          make(map[string]uint64),
		TokenPosts:    make(map[string]uint64),
		Mailboxes:     make(map[string]MailboxStats),
	}
	for v := range r.commands {
		if n := r.commands[v].Load(); n > 0 {
			st.Commands[r.verbs[v]] = n
		}
	}
	r.mu.Lock()
	st.Messages, st.Bytes = r.total-r.first, r.bytes
	maps.Copy(st.Auth, r.authBy)
	maps.Copy(st.TokenPosts, r.tokenBy)
	r.mu.Unlock()
	r.boxMu.RLock()
	boxes := make([]*Box, 0, len(r.boxes))
	for _, b := range r.boxes {
		boxes = append(boxes, b)
	}
	r.boxMu.RUnlock()
	for _, b := range boxes {
		ms := b.snapshot()
		st.Authenticated += ms.Conns
		st.Mailboxes[b.Name] = ms
	}
	return st
}
