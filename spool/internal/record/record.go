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

// Package record is how a kept message and its history lie in one file. It knows
// no queue and no directory: a File is opened by the store, and what its journal
// says is the engine's to judge. Nothing of it outlives the file. It imports relay,
// for what a recipient is, internal/printable, internal/seal and the seam of the
// spool's files.
package record

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// A message's file is a magic word and frames: the key's id, if it is sealed, the
// envelope, the body in chunks, its end, and the journal, a line a frame. The
// file ends with room for the journal, so that a full disk does not keep a
// delivery from being noted. A frame is its length, its kind, a checksum and the
// payload. A length of zero, or a line that lacks its end, is the journal's end, if no
// other frame is behind it: then it is damage, since each line is durable before the
// next one is written.
//
// Everything before the end of the body is written and synced before the file
// gets its name, so a file that has one lacks nothing.
const (
	// Magic is what every file begins with.
	Magic     = "mgspool1"
	frameHead = 9
	// ChunkSize is the most that one part of the body has.
	ChunkSize = 64 << 10
	// maxFrame bounds a frame: a chunk with its seal, or an envelope of as
	// many recipients as a server may allow.
	maxFrame = 4 << 20
	// journalRoom is written with the message: some twenty lines.
	journalRoom = 4 << 10
)

type frameKind byte

const (
	frameKey      frameKind = 'K'
	frameEnvelope frameKind = 'H'
	frameBody     frameKind = 'B'
	frameEnd      frameKind = 'E'
	frameJournal  frameKind = 'J'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged says that a file is not as it was written.
var ErrDamaged = errors.New("the file is damaged")

// Envelope is what a message is besides its body.
type Envelope struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	// Mailbox is the account's when the message was kept: an account of that name may
	// be another's later.
	Mailbox  string            `json:"mailbox,omitempty"`
	From     string            `json:"from"`
	Opts     smtp.MailOptions  `json:"opts"`
	Rcpts    []relay.Recipient `json:"rcpts"`
	Created  time.Time         `json:"created"`
	Hostname string            `json:"hostname"`
	// With is how it came in (RFC 3848). Empty: nothing says so.
	With string `json:"with,omitempty"`
	// Report marks a report about another message: nothing is reported of it.
	Report bool `json:"report,omitempty"`
	// Fallback is the sender where a provider refuses From, for reports.
	Fallback string `json:"fallback,omitempty"`
	// Reply is what the first attempt met, while the client waited.
	Reply string `json:"reply,omitempty"`
	// First is when the spool tries first.
	First time.Time `json:"first"`
	// Asked is the time before which the provider wants no other attempt.
	Asked time.Time `json:"asked,omitzero"`
	// Clock is what the spool's clock showed when the message was kept.
	Clock Reading `json:"clock,omitzero"`
}

// Received is the trace line in front of the body (RFC 5321 section 4.4).
func (e *Envelope) Received() string {
	with := e.With
	if rest, ok := strings.CutPrefix(with, "ESMTP"); ok && e.Opts.UTF8 {
		with = "UTF8SMTP" + rest // RFC 6531 section 4.3
	}
	if with != "" {
		with = " with " + with
	}
	return "Received: by " + e.Hostname + " (Mailgateway spool)" + with + "\r\n\tid " + e.ID + "; " +
		e.Created.Format("Mon, 2 Jan 2006 15:04:05 -0700") + "\r\n"
}

// File is one open file.
type File struct {
	f     disk.File
	id    string
	keys  *seal.Keys
	keyID string // empty: not sealed

	rcpts  int   // of the envelope
	at     place // of the next frame to read or write
	bodyAt place // of the body's first frame, once Start has found it
	lost   int64 // of the journal
	lines  int   // of the journal that can be read
	// remains is how many octets of a torn line stand where the next one goes.
	remains int64
	buf     []byte
}

// place is where a frame stands. Its number binds a sealed frame to it.
type place struct {
	off   int64
	index int
}

// New returns the record of a message in a file, which it closes with Close. The
// keys seal a new record and open one that is sealed.
func New(f disk.File, id string, keys *seal.Keys) *File {
	return &File{f: f, id: id, keys: keys}
}

// ID is the message's.
func (r *File) ID() string { return r.id }

// Sync makes durable what was written.
func (r *File) Sync() error { return r.f.Sync() }

// Close closes the file.
func (r *File) Close() error { return r.f.Close() }

// bound is what a sealed frame is bound to.
func (r *File) bound(kind frameKind) []byte {
	return append(strconv.AppendInt(append([]byte(r.id), ' ', byte(kind), ' '), int64(r.at.index), 10), " spool"...)
}

// Begin writes what stands in front of the body.
func (r *File) Begin(env *Envelope) error {
	if _, err := r.f.WriteAt([]byte(Magic), 0); err != nil {
		return err
	}
	r.at.off = int64(len(Magic))
	if !r.keys.Empty() {
		id := r.keys.ID()
		if err := r.write(frameKey, []byte(id)); err != nil {
			return err
		}
		r.keyID = id
	}
	head, err := json.Marshal(env)
	if err != nil {
		return err
	}
	if len(head) > maxFrame/2 {
		return fmt.Errorf("the envelope has %d octets", len(head))
	}
	return r.write(frameEnvelope, head)
}

// write appends a frame.
func (r *File) write(kind frameKind, payload []byte) error {
	b := append(r.buf[:0], make([]byte, frameHead)...)
	if r.keyID == "" {
		b = append(b, payload...)
	}
	// A line of the journal does not end with zero, so that its end can be seen.
	for r.keyID != "" && (len(b) == frameHead || kind == frameJournal && b[len(b)-1] == 0) {
		// With the file's own key: another one may be the first by now.
		nonce, data, err := r.keys.SealAs(r.keyID, payload, r.bound(kind))
		if err != nil {
			return err
		}
		b = append(append(b[:frameHead], nonce...), data...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameHead)) //nolint:gosec // bounded by maxFrame
	b[4] = byte(kind)
	binary.BigEndian.PutUint32(b[5:], crc32.Update(crc32.Checksum(b[4:5], castagnoli), castagnoli, b[frameHead:]))
	r.buf = b
	if _, err := r.f.WriteAt(b, r.at.off); err != nil {
		return err
	}
	r.at.off += int64(len(b))
	r.at.index++
	return nil
}

// WriteBody appends a part of the body, of at most ChunkSize octets.
func (r *File) WriteBody(p []byte) error { return r.write(frameBody, p) }

// Finish writes the body's end and the journal's room.
func (r *File) Finish(size int64) error {
	if err := r.write(frameEnd, strconv.AppendInt(nil, size, 10)); err != nil {
		return err
	}
	_, err := r.f.WriteAt(make([]byte, journalRoom), r.at.off)
	return err
}

// head reads the head of the next frame; kind is 0 at the end.
func (r *File) head() (kind frameKind, length int, sum uint32, err error) {
	var h [frameHead]byte
	n, err := r.f.ReadAt(h[:], r.at.off)
	if n < frameHead {
		if err == nil || errors.Is(err, io.EOF) {
			return 0, 0, 0, nil
		}
		return 0, 0, 0, err
	}
	length = int(binary.BigEndian.Uint32(h[:]))
	if length == 0 {
		return 0, 0, 0, nil
	}
	if length > maxFrame {
		return 0, 0, 0, ErrDamaged
	}
	return frameKind(h[4]), length, binary.BigEndian.Uint32(h[5:]), nil
}

// read reads the next frame. The payload is valid until the next call. An error
// that wraps ErrDamaged is the file's, others are the disk's or the key's.
func (r *File) read() (kind frameKind, payload []byte, err error) {
	kind, raw, err := r.raw()
	if err != nil || kind == 0 {
		return kind, nil, err
	}
	payload, err = r.open(kind, raw)
	if err != nil {
		return 0, nil, err
	}
	r.pass(len(raw))
	return kind, payload, nil
}

// pass goes behind a frame of so many octets.
func (r *File) pass(length int) {
	r.at.off += frameHead + int64(length)
	r.at.index++
}

// raw reads the next frame as it lies in the file, and does not go behind it.
func (r *File) raw() (kind frameKind, b []byte, err error) {
	kind, length, sum, err := r.head()
	if err != nil || kind == 0 {
		return kind, nil, err
	}
	if cap(r.buf) < length {
		r.buf = make([]byte, length)
	}
	b = r.buf[:length]
	if n, err := r.f.ReadAt(b, r.at.off+frameHead); n < length {
		if err == nil || errors.Is(err, io.EOF) {
			return 0, nil, fmt.Errorf("%w: it ends within a frame", ErrDamaged)
		}
		return 0, nil, err
	}
	if crc32.Update(crc32.Checksum([]byte{byte(kind)}, castagnoli), castagnoli, b) != sum {
		return 0, nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	return kind, b, nil
}

// open returns what is in a frame of the place where the file stands.
func (r *File) open(kind frameKind, b []byte) ([]byte, error) {
	if r.keyID == "" {
		return b, nil
	}
	if len(b) < seal.NonceSize {
		return nil, fmt.Errorf("%w: a frame is too short", ErrDamaged)
	}
	b, err := r.keys.Open(r.keyID, b[:seal.NonceSize], b[seal.NonceSize:], r.bound(kind))
	if errors.Is(err, seal.ErrAltered) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, err
}

// Start reads what stands in front of the body.
func (r *File) Start() (*Envelope, error) {
	var m [len(Magic)]byte
	if n, err := r.f.ReadAt(m[:], 0); n < len(m) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(m[:]) != Magic {
		return nil, fmt.Errorf("%w: it does not begin as a spooled message does", ErrDamaged)
	}
	r.at, r.keyID = place{off: int64(len(Magic))}, ""
	kind, b, err := r.read()
	if err == nil && kind == frameKey {
		r.keyID = string(b)
		kind, b, err = r.read()
	}
	if err != nil {
		return nil, err
	}
	env := new(Envelope)
	if kind != frameEnvelope {
		return nil, fmt.Errorf("%w: no envelope", ErrDamaged)
	}
	if err := json.Unmarshal(b, env); err != nil {
		return nil, fmt.Errorf("%w: malformed envelope", ErrDamaged)
	}
	if env.ID != r.id || len(env.Rcpts) == 0 {
		return nil, fmt.Errorf("%w: the envelope is another message's", ErrDamaged)
	}
	r.rcpts, r.bodyAt = len(env.Rcpts), r.at
	return env, nil
}

// SkipBody goes to the end of the body without reading it.
func (r *File) SkipBody() (size int64, err error) {
	for {
		kind, length, _, err := r.head()
		if err != nil {
			return 0, err
		}
		if kind == frameBody {
			r.pass(length)
			continue
		}
		return r.bodyEnd()
	}
}

func (r *File) bodyEnd() (int64, error) {
	kind, b, err := r.read()
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseInt(string(b), 10, 64)
	if kind != frameEnd || err != nil {
		return 0, fmt.Errorf("%w: the body has no end", ErrDamaged)
	}
	return size, nil
}

// Body is the body of a message whose record was started, behind what is put in
// front of it. It uses the file beside the record's own position, so that the
// journal may be written meanwhile.
type Body struct {
	r    File
	head string
	rest []byte
	size int64
	err  error
}

// Body begins to read the body.
func (r *File) Body(head string) *Body {
	own := *r
	own.buf, own.at = nil, r.bodyAt
	return &Body{r: own, head: head}
}

// Damaged returns what was found wrong with the file while the body was read.
func (b *Body) Damaged() error {
	if errors.Is(b.err, ErrDamaged) {
		return b.err
	}
	return nil
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.head != "" {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	for len(b.rest) == 0 && b.err == nil {
		b.err = b.next()
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *Body) next() error {
	kind, _, _, err := b.r.head()
	if err != nil {
		return err
	}
	if kind == frameBody {
		_, b.rest, err = b.r.read()
		b.size += int64(len(b.rest))
		return err
	}
	size, err := b.r.bodyEnd()
	switch {
	case err != nil:
		return err
	case size != b.size:
		return fmt.Errorf("%w: the body has %d octets in place of %d", ErrDamaged, b.size, size)
	}
	return io.EOF
}
