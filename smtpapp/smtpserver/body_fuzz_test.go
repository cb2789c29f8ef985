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

package smtpserver

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// FuzzDot compares the reader of DATA with the reference, for any input, cut
// anywhere, read in pieces of any size.
func FuzzDot(f *testing.F) {
	for _, tc := range smuggling {
		f.Add([]byte("one"+tc.end+smuggled+".\r\nNOOP\r\n"), uint16(7), uint16(3), false)
		f.Add([]byte("one"+tc.end+smuggled+".\r\nNOOP\r\n"), uint16(1), uint16(64), true)
	}
	f.Add([]byte(".\r\n"), uint16(1), uint16(1), false)
	f.Add([]byte("..\r\n.\r\n"), uint16(2), uint16(1), false)
	f.Add([]byte("\r\n.\r\n"), uint16(3), uint16(5), true)
	f.Add([]byte("no end"), uint16(3), uint16(5), true)
	f.Add([]byte("one\r\n..\r\n\r\r\ntwo\n.\r\n.\r\nNOOP\r\n"), uint16(511), uint16(1<<15), true) // room enough to read to its place
	f.Fuzz(func(t *testing.T, raw []byte, cut, size uint16, normalize bool) {
		cfg := testConfig()
		if cfg.BareNewline = BareReject; normalize {
			cfg.BareNewline = BareNormalize
		}
		l := bodyOf(&cutReader{b: raw, cut: int(cut%512) + 1}, cfg)
		defer l.w.release()
		l.start(true)
		got, err := readPieces(&l.body, int(size)+1)
		want, rest, ok := referenceDot(string(raw))
		if !ok {
			if err == nil {
				t.Fatalf("a message without end was read: %q", got)
			}
			return
		}
		if normalize {
			if n := referenceNormalize(want); n != "" || want == "" {
				want = n
			} else {
				ok = false
			}
		} else {
			ok = referenceClean(want)
		}
		if ok != (err == nil) {
			t.Fatalf("error %v, verdict %v, reference says ok=%v: %q", err, l.body.flaw, ok, want)
		}
		if ok && string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if derr := l.body.drain(); derr != nil {
			t.Fatalf("drain: %v", derr)
		}
		// What follows the end is untouched.
		after, err := io.ReadAll(io.MultiReader(bytes.NewReader(l.w.buffered()), l.w.nc.(*readConn).r))
		if err != nil || string(after) != rest {
			t.Fatalf("what follows: %q, want %q", after, rest)
		}
	})
}

// FuzzChunks compares BDAT, cut into chunks anywhere, with the message.
func FuzzChunks(f *testing.F) {
	for _, tc := range smuggling {
		f.Add([]byte("one"+tc.end+"two\r\n"), uint16(4), uint16(9), uint16(3), false)
		f.Add([]byte("one"+tc.end+"two\r\n"), uint16(1), uint16(1), uint16(100), true)
	}
	f.Fuzz(func(t *testing.T, message []byte, chunk, cut, size uint16, normalize bool) {
		if len(message) > 4096 {
			return
		}
		var raw bytes.Buffer
		n := int(chunk%512) + 1
		rest := message[min(n, len(message)):]
		first := message[:min(n, len(message))]
		raw.Write(first)
		for len(rest) > 0 {
			k := min(n, len(rest))
			fmt.Fprintf(&raw, "BDAT %d\r\n%s", k, rest[:k])
			rest = rest[k:]
		}
		raw.WriteString("BDAT 0 LAST\r\nNOOP\r\n")
		cfg := testConfig()
		if cfg.BareNewline = BareReject; normalize {
			cfg.BareNewline = BareNormalize
		}
		l := bodyOf(&cutReader{b: raw.Bytes(), cut: int(cut%512) + 1}, cfg)
		defer l.w.release()
		l.start(false)
		l.body.setChunk(int64(len(first)), false)
		got, err := readPieces(&l.body, int(size)+1)
		want, ok := string(message), referenceClean(string(message))
		if normalize {
			want = referenceNormalize(want)
			ok = want != "" || len(message) == 0
		}
		if ok != (err == nil) {
			t.Fatalf("error %v, verdict %v, reference says ok=%v: %q", err, l.body.flaw, ok, message)
		}
		if ok && string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// cutReader returns at most cut octets at a time.
type cutReader struct {
	b   []byte
	cut int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.cut)], r.b)
	r.b = r.b[n:]
	return n, nil
}

func readPieces(r io.Reader, size int) ([]byte, error) {
	var out []byte
	p := make([]byte, size)
	for {
		n, err := r.Read(p)
		out = append(out, p[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}
