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
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFit(t *testing.T) {
	const body = "\r\n\r\nhello\r\n"
	for _, tc := range []struct {
		name, head string
		rcpts      []string
		want       string // what goes in front; "parse" or "beyond" for errors
		beyond     []string
	}{
		{"the same", "To: a@b.c", []string{"a@b.c"}, "", nil},
		{"case", "TO: A@B.c", []string{"a@b.C"}, "", nil},
		{"blind", "To: a@b.c", []string{"a@b.c", "x@y.z", "X@y.z"}, "Bcc: x@y.z\r\n", nil},
		{"undisclosed", "To: undisclosed-recipients:;", []string{"a@b.c", "d@e.f"}, "Bcc: a@b.c,\r\n d@e.f\r\n", nil},
		{"no field", "Subject: x", []string{"a@b.c"}, "Bcc: a@b.c\r\n", nil},
		{"group", "To: friends: a@b.c, D <d@e.f>;, g@h.i", []string{"a@b.c", "d@e.f", "g@h.i"}, "", nil},
		{"several fields", "To: a@b.c\r\nCc: d@e.f\r\nBcc: j@k.l", []string{"a@b.c", "d@e.f", "j@k.l"}, "", nil},
		{"the last line is folded", "Cc: a@b.c\r\nTo: d@e.f,\r\n g@h.i", []string{"a@b.c", "d@e.f", "g@h.i"}, "", nil},
		// A provider may heed the first of two, or the last.
		{"a field twice", "To: a@b.c\r\nCc: d@e.f\r\nTo: g@h.i", []string{"a@b.c", "d@e.f", "g@h.i"}, "Bcc: a@b.c,\r\n g@h.i\r\n", nil},
		{"Bcc of what is in To", "To: a@b.c\r\nBcc: a@b.c\r\nBcc:", []string{"a@b.c"}, "", nil},
		{"folded", "To: a@b.c,\r\n\td@e.f", []string{"a@b.c", "d@e.f"}, "", nil},
		{"comments", "To: (x (\"n\")) A <a@b.c> (d)", []string{"a@b.c"}, "", nil},
		{"quotes in quotes", `To: "A \"B\" C" <a@b.c>`, []string{"a@b.c"}, "", nil},
		{"quoted at", "To: \"x@y.z, <d@e.f>\" <a@b.c>", []string{"a@b.c"}, "", nil},
		{"quotes without need", "To: \"a\"@b.c", []string{"a@b.c"}, "", nil},
		{"quotes with need", "To: \"a a\"@b.c", []string{"\"a a\"@b.c"}, "", nil},
		{"encoded word", "To: =?utf-8?q?x=40y=2Ez?= <a@b.c>", []string{"a@b.c"}, "", nil},
		{"full stop in a name", "To: J. Doe <a@b.c>", []string{"a@b.c"}, "", nil},
		{"empty places", "To: ,a@b.c,,", []string{"a@b.c"}, "", nil},
		{"empty field", "To:", []string{"a@b.c"}, "Bcc: a@b.c\r\n", nil},
		{"beyond", "To: a@b.c, d@e.f\r\nCc: g@h.i", []string{"a@b.c"}, "beyond", []string{"d@e.f", "g@h.i"}},
		{"an earlier hand", "To: a@b.c\r\nResent-To: d@e.f", []string{"a@b.c"}, "beyond", []string{"d@e.f"}},
		{"an earlier hand that counts for nothing", "Resent-To: a@b.c", []string{"a@b.c"}, "Bcc: a@b.c\r\n", nil},

		{"route", "To: <@x.y,@z.z:a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"unquoted at", "To: a@b.c <a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"side by side", "To: a@b.c d@e.f", []string{"a@b.c", "d@e.f"}, "parse", nil},
		{"an address in a comment", "To: a@b.c (x@y.z)", []string{"a@b.c"}, "parse", nil},
		{"an angle in a comment", "To: a@b.c (<)", []string{"a@b.c"}, "parse", nil},
		{"a backslash in a comment", "To: (\\() a@b.c", []string{"a@b.c"}, "parse", nil},
		{"a quote in a comment", "To: (\") a@b.c", []string{"a@b.c"}, "parse", nil},
		{"escaped quotes and an at", `To: "A\", x@y.z, \"" <a@b.c>`, []string{"a@b.c"}, "parse", nil},
		{"one escaped quote", `To: "A\"" <a@b.c>`, []string{"a@b.c"}, "parse", nil},
		{"a parenthesis between escaped quotes", `To: "A \"(\"" <a@b.c>`, []string{"a@b.c"}, "parse", nil},
		{"a comma beside escaped quotes", `To: "B, \"A\" x@y.z" <a@b.c>`, []string{"a@b.c"}, "", nil},
		{"a wide at", "To: x\uff20y.z <a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"a small at", "To: x\ufe6by.z <a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"a wide at in quotes", "To: \"x\uff20y.z\" <a@b.c>", []string{"a@b.c"}, "", nil},
		{"letters whose lower case is ASCII", "To: in\u212a@b.c, \u0130@b.c", []string{"ink@b.c", "i@b.c"}, "beyond", []string{"in\u212a@b.c", "\u0130@b.c"}},
		{"a full stop behind the domain", "To: a@b.c.", []string{"a@b.c"}, "parse", nil},
		{"a domain without a name", "To: a@", []string{"a@b.c"}, "parse", nil},
		{"a group with a full address for its name", "To: x@y.z: a@b.c;", []string{"a@b.c"}, "parse", nil},
		{"a name behind the address", "To: <a@b.c> B", []string{"a@b.c"}, "parse", nil},
		{"a form feed", "Subject: x\fTo: x@y.z\r\nTo: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"a vertical tab", "Subject: x\vTo: x@y.z\r\nTo: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"NUL", "Subject: x\x00\r\nTo: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"semicolons", "To: a@b.c; d@e.f", []string{"a@b.c", "d@e.f"}, "parse", nil},
		{"open quote", "To: \"a <a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"open comment", "To: a@b.c (d@e.f", []string{"a@b.c"}, "parse", nil},
		{"open group", "To: g: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"group in a group", "To: g: h: a@b.c;;", []string{"a@b.c"}, "parse", nil},
		{"blank before the colon", "To : a@b.c", []string{"a@b.c"}, "parse", nil},
		{"bare LF", "Subject: x\nTo: d@e.f\r\nCc: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"bare CR", "Subject: x\rTo: d@e.f\r\nCc: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"a line of blanks", "To: a@b.c\r\n \r\nCc: d@e.f", []string{"a@b.c"}, "parse", nil},
		{"no name", "To: a@b.c\r\n: d@e.f", []string{"a@b.c"}, "parse", nil},
		{"a line that is no field", "To: a@b.c\r\nhello", []string{"a@b.c"}, "parse", nil},
		{"blank in front", " To: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"blanks in an address", "To: a @ b.c", []string{"a@b.c"}, "parse", nil},
		{"a name alone", "To: someone", []string{"a@b.c"}, "parse", nil},
		{"an encoded word with a comma", "To: =?utf-8?q?a,d@e.f?= <a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"an encoded word in an address", "To: =?utf-8?q?x=40y.z=3e=20?=a@b.c", []string{"a@b.c"}, "parse", nil},
		{"an encoded word in an address, bracketed", "To: A <=?utf-8?q?x=40y.z=3e=20?=a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"an encoded word in quotes of an address", "To: \"=?utf-8?q?x=40y.z=3e=20?=a\"@b.c", []string{"a@b.c"}, "parse", nil},
		{"an encoded word for a domain", "To: a@=?utf-8?q?y.z?=", []string{"a@b.c"}, "parse", nil},
		{"an equals sign and question marks", "To: prvs=1?x=a@b.c", []string{"prvs=1?x=a@b.c"}, "", nil},
		{"a hidden field", "X-Long: " + strings.Repeat("x", 990) + "To: d@e.f\r\nTo: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"a hidden field in a folded line", "X-Long: x\r\n " + strings.Repeat("x", 997) + "bcc : d@e.f\r\nTo: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"a long line that hides nothing", "X-Long: " + strings.Repeat("x", 990) + "Tone: d@e.f\r\nTo: a@b.c", []string{"a@b.c"}, "", nil},
		{"a name that is too long for a line", "To: " + strings.Repeat("x", 1000) + " <a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"an IDN beside its xn-- form", "To: a@b\u00fccher.example", []string{"a@xn--bcher-kva.example"}, "beyond", []string{"a@b\u00fccher.example"}},
		{"an IDN as xn--, in capitals", "To: a@XN--BCHER-KVA.example", []string{"a@xn--bcher-kva.example"}, "", nil},
		{"an IPv4 literal", "To: a@[192.0.2.1]", []string{"a@[192.0.2.1]"}, "", nil},
		{"an IPv6 literal", "To: a@[IPv6:2001:DB8::1]", []string{"a@[IPv6:2001:db8::1]"}, "parse", nil},
		{"blanks around full stops", "To: a . b@c.d", []string{"a.b@c.d"}, "parse", nil},
		{"a comment in an address", "To: a(x)@b.c", []string{"a@b.c"}, "parse", nil},
		{"a blank in angle brackets", "To: < a@b.c >", []string{"a@b.c"}, "parse", nil},
		{"an empty route", "To: <,@x.y,,@z.z:a@b.c>", []string{"a@b.c"}, "parse", nil},
		{"a group of nothing", "To: g:,,;\r\nCc: a@b.c", []string{"a@b.c"}, "", nil},
		{"From that cannot be read", "From: a@b.c <a@b.c>\r\nTo: a@b.c", []string{"a@b.c"}, "parse", nil},
		{"a line break in an address", "To: \"a\r\n b\"@b.c", []string{"a@b.c"}, "parse", nil},
	} {
		msg := []byte(tc.head + body)
		m, err := Fit(msg, tc.rcpts, false)
		parse, isParse := errors.AsType[*ParseError](err)
		beyond, isBeyond := errors.AsType[*BeyondError](err)
		switch {
		case tc.want == "parse":
			if !isParse {
				t.Errorf("%s: %+v, %v, want a refusal", tc.name, m, err)
			} else if strings.ContainsAny(parse.Error(), "\r\n") {
				t.Errorf("%s: %q has several lines", tc.name, parse.Error())
			}
		case tc.want == "beyond":
			if !isBeyond || !slices.Equal(beyond.Addresses, tc.beyond) {
				t.Errorf("%s: %v, want %v beyond", tc.name, err, tc.beyond)
			}
		case err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case string(m.Head) != tc.want || !bytes.Equal(m.Rest, msg):
			t.Errorf("%s: %q in front, and %q", tc.name, m.Head, m.Rest)
		}
	}
}

// TestLongLines: readers cut a line beyond 998 octets, so that a field of recipients
// is folded. Other fields stay as they are.
func TestLongLines(t *testing.T) {
	var rcpts []string
	for i := range 200 {
		rcpts = append(rcpts, fmt.Sprintf("rcpt%d@example.org", i))
	}
	long := "X-Long: " + strings.Repeat("x", 5000) + "\r\n"
	m, err := Fit([]byte(long+"To: "+strings.Join(rcpts, ", ")+"\r\nCc: g: rcpt0@example.org;\r\n\r\nhello"), rcpts, false)
	if err != nil {
		t.Fatal(err)
	}
	want := long + "To: " + strings.Join(rcpts, ",\r\n ") + "\r\nCc: g: rcpt0@example.org;\r\n\r\nhello"
	if string(m.Rest) != want || len(m.Head) > 0 || len(m.Rewritten) > 0 {
		t.Errorf("%q, %q, %v", m.Head, m.Rest, m.Rewritten)
	}
}

func TestRewrite(t *testing.T) {
	const in = "From: f@b.c\r\nTo: \"D\" <d@e.f>, A (x) <a@b.c> (y),\r\n g: h@i.j;\r\nCc: d@e.f\r\nSubject: s\r\n\r\nTo: d@e.f\r\n"
	m, err := Fit([]byte(in), []string{"a@b.c", "h@i.j", "x@y.z"}, true)
	if err != nil {
		t.Fatal(err)
	}
	const want = "From: f@b.c\r\nTo: A (x) <a@b.c> (y),\r\n h@i.j\r\nSubject: s\r\n\r\nTo: d@e.f\r\n"
	if string(m.Rest) != want || string(m.Head) != "Bcc: x@y.z\r\n" || !slices.Equal(m.Rewritten, []string{"d@e.f"}) {
		t.Errorf("%q\n%q\n%v", m.Head, m.Rest, m.Rewritten)
	}
	if !slices.Equal(m.From, []string{"f@b.c"}) {
		t.Errorf("From is %v", m.From)
	}
}

// TestFoldedBcc holds that no line of a long field Bcc is beyond what RFC 5322
// section 2.1.1 lets it be.
// TestOwnBcc: of two fields Bcc a provider could heed one.
func TestOwnBcc(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"To: a@b.c\r\nBcc: d@e.f\r\nSubject: s\r\n\r\nx", "Bcc: d@e.f,\r\n g@h.i\r\nTo: a@b.c\r\nSubject: s\r\n\r\nx"},
		{"To: a@b.c\r\nBcc:\r\nSubject: s\r\n\r\nx", "Bcc: d@e.f,\r\n g@h.i\r\nTo: a@b.c\r\nSubject: s\r\n\r\nx"},
		{"To: a@b.c\r\nbcc: d@e.f\r\nBCC: g@h.i,\r\n d@e.f\r\n\r\nx", "Bcc: d@e.f,\r\n g@h.i\r\nTo: a@b.c\r\n\r\nx"},
		{"Bcc: d@e.f, g@h.i, a@b.c\r\n\r\nx", "Bcc: d@e.f, g@h.i, a@b.c\r\n\r\nx"},
	} {
		m, err := Fit([]byte(tc.in), []string{"a@b.c", "d@e.f", "g@h.i"}, false)
		if err != nil {
			t.Errorf("%q: %v", tc.in, err)
		} else if got := string(m.Head) + string(m.Rest); got != tc.want {
			t.Errorf("%q became %q, want %q", tc.in, got, tc.want)
		}
	}
}

// TestLargeHeaders: what a client writes into a header costs time in proportion,
// and one that no provider takes is refused.
func TestLargeHeaders(t *testing.T) {
	for name, tc := range map[string]struct {
		head string
		err  error
	}{
		"folds":     {"X: y\r\n" + strings.Repeat(" x\r\n", 60_000), nil},
		"fields":    {strings.Repeat("X: y\r\n", 40_000), nil},
		"addresses": {"Cc: a@b.c\r\n" + strings.Repeat(" ,a@b.c\r\n", 25_000), nil},
		"beyond":    {"X: y\r\n" + beyond(20_000), nil},
		"too large": {strings.Repeat("X: y\r\n", 200_000), ErrHeaderSize},
		"one line":  {"X: " + strings.Repeat("y", 1<<20) + "\r\n", ErrHeaderSize},
	} {
		m, err := Fit([]byte(tc.head+"To: a@b.c\r\n\r\n"), []string{"a@b.c"}, true)
		if !errors.Is(err, tc.err) || err == nil && len(m.Head) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// beyond is a field with that many addresses.
func beyond(n int) string {
	var b strings.Builder
	b.WriteString("Cc: a@b.c")
	for i := range n {
		fmt.Fprintf(&b, ",%d@x", i)
	}
	return b.String() + "\r\n"
}

func TestFoldedBcc(t *testing.T) {
	var rcpts []string
	for range 500 {
		rcpts = append(rcpts, strings.Repeat("l", 64)+"@"+strings.Repeat("d", 180)+strings.Repeat("e", len(rcpts)%10)+".example")
	}
	m, err := Fit([]byte("Subject: x\r\n\r\n"), rcpts, false)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(m.Head)) {
		if len(line) > 1000 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
}

// TestFitStream holds that a message that is read as it leaves is the one that
// would have been made of the whole, however its octets come.
func TestFitStream(t *testing.T) {
	rcpts := []string{"a@b.c", "x@y.z"}
	for _, msg := range []string{
		"To: a@b.c\r\n\r\nTo: d@e.f\r\n", "To: a@b.c\r\n\r\n", "To: a@b.c\r\n", "\r\nbody", "", "To: d@e.f\r\n\r\n", "To: a@b.c\n\nTo: d@e.f\r\n\r\n",
		"Subject: " + strings.Repeat("s", 100_000) + "\r\nTo: a@b.c\r\n\r\n" + strings.Repeat("b\r\n", 100_000), "To: a@b.c",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(msg), "octets": iotest.OneByteReader(strings.NewReader(msg)), "with EOF": iotest.DataErrReader(strings.NewReader(msg))} {
			want, wantErr := Fit([]byte(msg), rcpts, true)
			_, whole, err := FitStream(r, rcpts, true)
			if (err == nil) != (wantErr == nil) {
				t.Errorf("%.40q, %s: %v, want %v", msg, name, err, wantErr)
			}
			if err != nil || wantErr != nil {
				continue
			}
			got, err := io.ReadAll(whole)
			if err != nil || !bytes.Equal(got, slices.Concat(want.Head, want.Rest)) {
				t.Errorf("%.40q, %s: %.80q, %v", msg, name, got, err)
			}
		}
	}
	if _, _, err := FitStream(strings.NewReader(strings.Repeat("X: y\r\n", maxHeader)), rcpts, false); !errors.Is(err, ErrHeaderSize) {
		t.Errorf("a header without an end: %v", err)
	}
	broken := errors.New("broken")
	if _, _, err := FitStream(io.MultiReader(strings.NewReader("To: a@b.c\r\n"), iotest.ErrReader(broken)), rcpts, false); !errors.Is(err, broken) {
		t.Errorf("a header that breaks off: %v", err)
	}
}

// FuzzFit holds that what passes is the same to a second reading: each
// recipient that the whole message names is in the envelope, and each of the
// envelope is named.
