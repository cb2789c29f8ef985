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

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

const fuzzedID = "0123456789abcdef01234567"

// written returns a message's file as the store writes it.
func written(tb testing.TB, keys *seal.Keys, text string, lines ...record.Line) []byte {
	tb.Helper()
	fsys := newMemFS()
	s := store.New(fsys, "/s")
	s.Configure(keys, store.Bounds{Messages: 9, Octets: 1 << 30})
	env := &record.Envelope{ID: fuzzedID, Account: "a", Rcpts: []relay.Recipient{{To: "to@example.org"}}}
	k := store.NewKeeper(s, env, strings.NewReader(text))
	if err := k.Rest(); err != nil {
		tb.Fatal(err)
	}
	if err := k.Commit(); err != nil {
		tb.Fatal(err)
	}
	rec, err := s.OpenJournal(fuzzedID)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range lines {
		if err := rec.Append(&lines[i]); err != nil {
			tb.Fatal(err)
		}
	}
	return fsys.names[s.Path(fuzzedID, store.MessageExt)].data
}

// FuzzRecord reads files that may be anything. Whatever they hold, reading ends
// with the message or an error, and what is noted in a file that could be read is
// there when it is read again.
func FuzzRecord(f *testing.F) {
	key := fmt.Sprintf("%064x", 1)
	keys, err := seal.New([]string{key}, keyID)
	if err != nil {
		f.Fatal(err)
	}
	whole := written(f, nil, "Subject: x\r\n\r\ntext\r\n", record.Line{Event: record.EventTry, Next: time.Unix(1, 0)}, record.Line{Event: record.EventSent, Sent: []int{0}})
	sealed := written(f, keys, "Subject: x\r\n\r\n"+strings.Repeat("sealed ", 20), record.Line{Event: record.EventHold, Why: "w"})
	// The room at the end is zeros, which the fuzzer need not carry: what it changes
	// in 400 octets is part of a frame, in 96 KiB hardly ever.
	frames := func(b []byte) []byte { return bytes.TrimRight(b, "\x00") }
	whole, sealed = frames(whole), frames(sealed)
	for _, b := range [][]byte{whole, sealed, whole[:40], sealed[:len(sealed)/2], []byte(record.Magic), nil} {
		f.Add(b, uint16(0))
		f.Add(b, uint16(4096))
	}
	for _, at := range []int{8, 12, 13, 30, len(whole) / 2} {
		b := append([]byte(nil), whole...)
		b[at] ^= 0x80
		f.Add(b, uint16(4096))
	}
	f.Fuzz(func(t *testing.T, data []byte, room uint16) {
		data = append(append([]byte(nil), data...), make([]byte, room)...)
		fsys := newMemFS()
		s := store.New(fsys, "/s")
		s.Configure(keys, store.Bounds{})
		fsys.names[s.Path(fuzzedID, store.MessageExt)] = &memFile{fs: fsys, data: data}
		st, err := s.Read(fuzzedID)
		if err != nil {
			return
		}
		m := replay(st, time.Now())
		_ = m.finished()
		_ = m.view("u")
		rec, err := s.OpenJournal(fuzzedID)
		if err != nil {
			t.Fatalf("read, and then not opened: %v", err)
		}
		n, err := io.Copy(io.Discard, rec.Body(""))
		switch {
		case err == nil && n != st.Size:
			t.Fatalf("a body of %d octets, and %d were announced", n, st.Size)
		case err != nil && !errors.Is(err, record.ErrDamaged):
			t.Fatalf("the body ends with %v", err)
		}
		if err := rec.Append(&record.Line{Event: record.EventHold, Why: "fuzzed"}); err != nil {
			t.Fatal(err)
		}
		again, err := s.Read(fuzzedID)
		if err != nil {
			t.Fatalf("after a line was added: %v", err)
		}
		if len(again.Lines) != len(st.Lines)+1 || again.Lines[len(st.Lines)].Why != "fuzzed" {
			t.Fatalf("%d lines, and %d after one was added", len(st.Lines), len(again.Lines))
		}
	})
}
