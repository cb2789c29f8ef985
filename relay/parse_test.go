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

package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

func readOne(in string) (*Reply, error) {
	r := NewReplyReader(bufio.NewReaderSize(strings.NewReader(in), 64))
	if _, err := r.Read(); err != nil {
		return nil, err
	}
	return r.Reply(), nil
}

func TestReadReply(t *testing.T) {
	for _, tc := range []struct {
		in       string
		code     int
		enhanced smtp.EnhancedCode
		lines    []string
	}{
		{"250 2.1.5 OK\r\n", 250, smtp.EnhancedCode{2, 1, 5}, []string{"2.1.5 OK"}},
		{"250 OK\n", 250, smtp.EnhancedCode{}, []string{"OK"}},
		{"250\r\n", 250, smtp.EnhancedCode{}, []string{""}},
		{"250 \r\n", 250, smtp.EnhancedCode{}, []string{""}},
		{"354 go\r\n", 354, smtp.EnhancedCode{}, []string{"go"}},
		{"550-first\r\n550-5.7.26 second\r\n550 5.7.1 third\r\n", 550, smtp.EnhancedCode{5, 7, 26}, []string{"first", "5.7.26 second", "5.7.1 third"}},
		{"250-a\n250\n", 250, smtp.EnhancedCode{}, []string{"a", ""}},
		{"250 2.1.5\r\n", 250, smtp.EnhancedCode{2, 1, 5}, []string{"2.1.5"}},
		{"250 2.1.1234 x\r\n", 250, smtp.EnhancedCode{}, []string{"2.1.1234 x"}},
		{"250 3.1.1 x\r\n", 250, smtp.EnhancedCode{}, []string{"3.1.1 x"}},
		{"250 2..1 x\r\n", 250, smtp.EnhancedCode{}, []string{"2..1 x"}},
		{"550 a\rb\x00c\td\x1b[31m\x7f\xff\u0085\u2028 é\r\n", 550, smtp.EnhancedCode{}, []string{"a?b?c\td?[31m???? é"}},
		{"250 a\r\r\n", 250, smtp.EnhancedCode{}, []string{"a?"}},
		{"550 5.7.1 \u202eko\u202c \u2066x\u2069 \ufeff\u00ad\u200d \u00a0ü漢 \U000e0041\ue000\r\n", 550, smtp.EnhancedCode{5, 7, 1}, []string{"5.7.1 ?ko? ?x? ??? \u00a0ü漢 ??"}},
		{"250 " + strings.Repeat("x", MaxReplyLine-6) + "\r\n", 250, smtp.EnhancedCode{}, []string{strings.Repeat("x", MaxReplyLine-6)}},
		{strings.Repeat("250-x\r\n", MaxReplyLines-1) + "250 x\r\n", 250, smtp.EnhancedCode{}, slices.Repeat([]string{"x"}, MaxReplyLines)},
	} {
		r, err := readOne(tc.in)
		if err != nil {
			t.Errorf("%.60q: %v", tc.in, err)
			continue
		}
		if r.Code != tc.code || r.Enhanced != tc.enhanced || !slices.Equal(r.Lines, tc.lines) {
			t.Errorf("%.60q: got %+v", tc.in, r)
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, in := range []string{
		"\r\n", "25\r\n", "x50 a\r\n", "199 a\r\n", "600 a\r\n", "250a\r\n", "250-a\r\n251 b\r\n", "250-a\r\nb\r\n",
		"2500 a\r\n", "\n", "-250 a\r\n", " 250 a\r\n",
		"250 " + strings.Repeat("x", MaxReplyLine-5) + "\r\n",
		strings.Repeat("250-x\r\n", MaxReplyLines) + "250 x\r\n",
		strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 20) + "250 x\r\n",
	} {
		if r, err := readOne(in); !errors.Is(err, ErrReply) {
			t.Errorf("%.60q: %v, %v", in, r, err)
		}
	}
	for _, in := range []string{"", "250 no end", "250-a\r\n", "250-a\r\n250"} {
		if r, err := readOne(in); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v, %v", in, r, err)
		}
	}
}

// endless gives the same bytes for ever and counts them.
type endless struct {
	what string
	n    int
}

func (e *endless) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		n += copy(b[n:], e.what[(e.n+n)%len(e.what):])
	}
	e.n += n
	return n, nil
}

func TestReadReplyIsBounded(t *testing.T) {
	for _, what := range []string{"x", "2", "250-x\r\n", "250-" + strings.Repeat("x", 1000) + "\r\n", "\x00"} {
		e := &endless{what: what}
		r := NewReplyReader(bufio.NewReader(e))
		if _, err := r.Read(); !errors.Is(err, ErrReply) {
			t.Errorf("%.10q: %v", what, err)
		}
		if e.n > MaxReplySize+2*MaxReplyLine {
			t.Errorf("%.10q: %d bytes read", what, e.n)
		}
		if cap(r.text) > 2*MaxReplySize {
			t.Errorf("%.10q: %d bytes kept", what, cap(r.text))
		}
	}
}

func TestReadReplyAllocs(t *testing.T) {
	e := &endless{what: "250 2.1.5 OK\r\n"}
	r := NewReplyReader(bufio.NewReader(e))
	if n := testing.AllocsPerRun(1000, func() {
		if code, err := r.Read(); code != 250 || err != nil {
			t.Fatal(code, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a reply whose text nobody needs", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		_, _ = r.Read()
		_ = r.Reply()
	}); n > 2 {
		t.Errorf("%v allocations for a reply of one line", n)
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{
		"250 2.1.5 OK\r\n", "250-a\r\n250-SIZE 1\r\n250 AUTH XOAUTH2\r\n", "334 eyJzdGF0dXMiOiI0MDEifQ==\r\n",
		"535-5.7.8 a\r\n535 5.7.8 b\r\n", "250\n", "250-\r\n251 x\r\n", "550 \x00\r\r\n", "421 4.7.0 \xff\xfe\r\n", "250 " + strings.Repeat("x", 5000),
	} {
		f.Add([]byte(s))
	}
	// The readers are made once: with a buffer for each reply the target ran 70
	// inputs a second, which finds nothing.
	var src, back bytes.Reader
	br, backBr := bufio.NewReaderSize(&src, 32), bufio.NewReaderSize(&back, 512)
	rd, again := NewReplyReader(br), NewReplyReader(backBr)
	var wire []byte
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4*MaxReplyLine {
			return // the bounds beyond are TestReadReplyIsBounded's
		}
		src.Reset(in)
		br.Reset(&src)
		rd.Reset(br)
		for {
			code, err := rd.Read()
			if err != nil {
				if code != 0 || rd.Code() != 0 {
					t.Fatal("a code with an error")
				}
				return
			}
			r := rd.Reply()
			if r.Code != code || code < 200 || code > 599 || len(r.Lines) == 0 || len(r.Lines) > MaxReplyLines {
				t.Fatalf("%+v", r)
			}
			for _, l := range r.Lines {
				if !utf8.ValidString(l) || strings.ContainsFunc(l, func(c rune) bool {
					return c < ' ' && c != '\t' || c >= 0x7f && c < 0xa0
				}) {
					t.Fatalf("unsafe text %q", l)
				}
			}
			// What is relayed is read back as the same reply.
			wire = r.Append(wire[:0])
			back.Reset(wire)
			backBr.Reset(&back)
			again.Reset(backBr)
			if _, err := again.Read(); err != nil {
				// Sanitizing can make a line longer, past the bound, but never
				// anything else.
				if len(wire) <= MaxReplyLine {
					t.Fatalf("%q: %v", wire, err)
				}
				continue
			}
			if b := again.Reply(); b.Code != r.Code || b.Enhanced != r.Enhanced || !slices.Equal(b.Lines, r.Lines) {
				t.Fatalf("%+v became %+v", r, b)
			}
		}
	})
}
