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
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/seal"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/record"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// fileOf is a message's file in a store that has nothing else.
func fileOf(keys *seal.Keys, data []byte) (*store.Store, *memFile) {
	fsys := newMemFS()
	s := store.New(fsys, "/s")
	s.Configure(keys, store.Bounds{})
	f := &memFile{fs: fsys, data: bytes.Clone(data)}
	fsys.names[s.Path(fuzzedID, store.MessageExt)] = f
	return s, f
}

// starts returns where the frames of a file begin, and where the last one ends.
func starts(data []byte) (at []int) {
	off := len(record.Magic)
	for {
		at = append(at, off)
		length := int(binary.BigEndian.Uint32(data[off:]))
		if length == 0 {
			return at
		}
		off += 9 + length
	}
}

// TestDamagedJournal damages each octet of each line of a journal, the last one too: the
// message is held, what follows is known and is not written over, and a release that is
// written behind it counts until there is more damage.
func TestDamagedJournal(t *testing.T) {
	keys, err := seal.New([]string{fmt.Sprintf("%064x", 1)}, keyID)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	for name, keys := range map[string]*seal.Keys{"clear": nil, "sealed": keys} {
		t.Run(name, func(t *testing.T) {
			whole := written(t, keys, "text",
				record.Line{At: at, Event: record.EventHold, Why: "an operator's"}, record.Line{At: at, Event: record.EventRelease},
				record.Line{At: at, Event: record.EventTry, Next: at}, record.Line{At: at, Event: record.EventResult, Replies: map[int]string{-1: "451 4.7.1 later"}})
			frames := starts(whole)
			frames = frames[len(frames)-5:]
			for off := frames[0]; off < frames[4]; off++ {
				last, more := off >= frames[3], frames[3]
				if last {
					more = frames[2]
				}
				data := bytes.Clone(whole)
				data[off] ^= 0x55
				s, f := fileOf(keys, data)
				st, err := s.Read(fuzzedID)
				if err != nil {
					t.Fatalf("octet %d: %v", off, err)
				}
				if m := replay(st, at); m.held == "" || !strings.Contains(m.held, "damaged") && m.held != "an operator's" || !last && m.reply != "451 4.7.1 later" {
					t.Fatalf("octet %d: held %q, reply %q", off, m.held, m.reply)
				}
				rec, err := s.OpenJournal(fuzzedID)
				if err != nil {
					t.Fatal(err)
				}
				if err := rec.Append(&record.Line{At: at, Event: record.EventRelease, Lost: rec.Lost()}); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(f.data[:frames[4]], data[:frames[4]]) {
					t.Fatalf("octet %d: what follows the damage was written over", off)
				}
				if st, err = s.Read(fuzzedID); err != nil {
					t.Fatal(err)
				}
				if m := replay(st, at); m.held != "" {
					t.Fatalf("octet %d: released, and held: %s", off, m.held)
				}
				f.data[more+12] ^= 0x55
				if st, err = s.Read(fuzzedID); err != nil {
					t.Fatal(err)
				}
				if m := replay(st, at); !strings.Contains(m.held, "damaged") {
					t.Fatalf("octet %d: more damage behind a release, and held %q", off, m.held)
				}
			}
			// Where a sector is gone, too.
			for size := range frames[3] - frames[0] {
				data := bytes.Clone(whole)
				clear(data[frames[0]:][:size+4])
				s, _ := fileOf(keys, data)
				st, err := s.Read(fuzzedID)
				if err != nil {
					t.Fatal(err)
				}
				if m := replay(st, at); !strings.Contains(m.held, "damaged") {
					t.Fatalf("%d octets of zero: held %q", size+4, m.held)
				}
			}
		})
	}
}

// TestTornEnd holds that each line of a sealed journal can be told from one that lacks its
// end, though what is sealed may end in any octet.
func TestTornEnd(t *testing.T) {
	keys, err := seal.New([]string{fmt.Sprintf("%064x", 1)}, keyID)
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]record.Line, 1500) // six of them would end in zero
	for i := range lines {
		lines[i].Event = record.EventTry
	}
	data := written(t, keys, "text", lines...)
	frames := starts(data)
	for _, end := range frames[len(frames)-len(lines):] {
		if data[end-1] == 0 {
			t.Fatal("a line ends in zero")
		}
	}
}

// TestTornRemains holds that what earlier versions left behind a line that was written
// over a torn one is no damage.
func TestTornRemains(t *testing.T) {
	data := written(t, nil, "text", record.Line{Event: record.EventTry})
	long := written(t, nil, "text", record.Line{Event: record.EventTry}, record.Line{Event: record.EventHold, Why: strings.Repeat("long ", 2000)})
	end := starts(data)[len(starts(data))-1]
	data = append(data[:end+4], long[end+4:len(long)-5000]...)
	s, _ := fileOf(nil, data)
	if st, err := s.Read(fuzzedID); err != nil || len(st.Lines) != 1 || st.Lost > 0 {
		t.Fatalf("%d lines, %d octets lost, %v", len(st.Lines), st.Lost, err)
	}
}

// TestTornJournal holds that what a crash leaves of the last line is no damage, what
// an earlier one left behind it neither.
func TestTornJournal(t *testing.T) {
	long := record.Line{Event: record.EventHold, Why: strings.Repeat("long ", 2000)}
	before := written(t, nil, "text", record.Line{Event: record.EventTry})
	whole := written(t, nil, "text", record.Line{Event: record.EventTry}, long)
	frames := starts(whole)
	at := frames[len(frames)-2]
	for cut := at + 1; cut < len(whole)-4; cut++ {
		data := append(bytes.Clone(whole[:cut]), make([]byte, max(len(before)-cut, 0))...)
		s, _ := fileOf(nil, data)
		rec, err := s.OpenJournal(fuzzedID)
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Append(&record.Line{Event: record.EventRelease}); err != nil {
			t.Fatal(err)
		}
		st, err := s.Read(fuzzedID)
		if err != nil || len(st.Lines) != 2 || st.Lost > 0 {
			t.Fatalf("torn at %d: %d lines, %d octets lost, %v", cut, len(st.Lines), st.Lost, err)
		}
	}
}

// TestUnknownRecords holds that a journal with what only another version knows is not
// judged without it.
func TestUnknownRecords(t *testing.T) {
	try := record.Line{Event: record.EventTry}
	for name, lines := range map[string][]record.Line{
		"event":     {{Event: "quarantine"}, try},
		"recipient": {{Event: record.EventSent, Sent: []int{1}}},
		"negative":  {{Event: record.EventResult, Refused: []int{-1}, Owed: []int{-1}}},
	} {
		s, _ := fileOf(nil, written(t, nil, "text", lines...))
		if st, err := s.Read(fuzzedID); err == nil {
			t.Errorf("%s: %+v", name, st)
		}
	}
	data := written(t, nil, "text", try)
	frames := starts(data)
	frame := data[frames[len(frames)-2]:frames[len(frames)-1]]
	frame[4] = 'X'
	binary.BigEndian.PutUint32(frame[5:], crc32.Checksum(slices.Concat(frame[4:5], frame[9:]), crc32.MakeTable(crc32.Castagnoli)))
	s, _ := fileOf(nil, data)
	if st, err := s.Read(fuzzedID); err == nil {
		t.Errorf("a record of an unknown kind: %+v", st)
	}
}

// TestDamagedSent damages the line that says who has a message, with more behind it:
// from the next start on it is held and named, and goes to nobody before a release.
func TestDamagedSent(t *testing.T) {
	fsys, p := newMemFS(), newProvider()
	p.down = true
	tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
	if _, err := send(tr, "a", "text"); err != nil {
		t.Fatal(err)
	}
	id := Messages("", "")[0].ID
	rec, err := tr.engine.store.OpenJournal(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []record.Line{{Event: record.EventSent, Sent: []int{0}}, {Event: record.EventRelease, Next: time.Now()}} {
		if err := rec.Append(&l); err != nil {
			t.Fatal(err)
		}
	}
	name := tr.engine.store.Path(id, store.MessageExt)
	stop(tr)
	data := fsys.names[name].data
	frames := starts(data)
	data[frames[len(frames)-3]+20] ^= 1
	p.set(false)
	for range 2 {
		tr = start(t, fsys, p, nil)
		if _, err := send(tr, "a", "behind it"); err != nil {
			t.Fatal(err)
		}
		for tr.engine.status().Messages > 1 {
			time.Sleep(time.Millisecond)
		}
		if m, err := Get(id); err != nil || m.State != "held" || !strings.Contains(m.Why, "journal is damaged") || p.count("text") > 0 {
			t.Fatalf("sent %d times: %+v, %v", p.count("text"), m, err)
		}
		stop(tr)
	}
	tr = start(t, fsys, p, nil)
	defer stop(tr)
	if err := Release(id); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	if p.count("text") != 1 {
		t.Errorf("released, and delivered %d times", p.count("text"))
	}
}

// TestLongLine holds that a line with more words than a frame has room for can be read
// again, and says of each recipient what the provider answered.
func TestLongLine(t *testing.T) {
	const n = 5000
	s, l := store.New(newMemFS(), "/s"), record.Line{Event: record.EventResult, Replies: map[int]string{-1: "250 2.0.0 Ok"}}
	s.Configure(nil, store.Bounds{Messages: 9, Octets: 1 << 30})
	env := &record.Envelope{ID: fuzzedID, Account: "a", Rcpts: make([]relay.Recipient, n)}
	for i := range n {
		l.Refused, l.Owed = append(l.Refused, i), append(l.Owed, i)
		l.Replies[i] = fmt.Sprintf("55%d 5.1.1 <%d@example.org> %s", i%10, i, strings.Repeat("no ", 280))
	}
	k := store.NewKeeper(s, env, strings.NewReader("text"))
	if err := errors.Join(k.Rest(), k.Commit()); err != nil {
		t.Fatal(err)
	}
	rec, err := s.OpenJournal(fuzzedID)
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Append(&l); err != nil {
		t.Fatal(err)
	}
	st, err := s.Read(fuzzedID)
	if err != nil || len(st.Lines) != 1 {
		t.Fatalf("%d lines, %v", len(st.Lines), err)
	}
	m := replay(st, time.Now())
	if !m.finished() || len(m.owed) != n || m.reply != "250 2.0.0 Ok" {
		t.Errorf("%d settled, %d owed, the last word %q", len(m.settled), len(m.owed), m.reply)
	}
	for i := range n {
		if want := fmt.Sprintf("55%d 5.1.1 <%d@", i%10, i); !strings.HasPrefix(m.replies[i], want) {
			t.Fatalf("recipient %d: %q", i, m.replies[i])
		}
	}
}
