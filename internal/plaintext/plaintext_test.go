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

package plaintext

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"
	"unicode/utf8"
)

func utf16Of(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestReader(t *testing.T) {
	const text = "a\nb ü € 😀\n\nc"
	crlf, cr := strings.ReplaceAll(text, "\n", "\r\n"), strings.ReplaceAll(text, "\n", "\r")
	for name, raw := range map[string]string{
		"plain": text, "mark": "\xef\xbb\xbf" + text, "CRLF": crlf, "mark, CRLF": "\xef\xbb\xbf" + crlf, "CR": cr,
		"UTF-16LE": utf16Of(binary.LittleEndian, text), "UTF-16BE": utf16Of(binary.BigEndian, text),
		"UTF-16LE, CRLF": utf16Of(binary.LittleEndian, crlf), "UTF-16BE, CR": utf16Of(binary.BigEndian, cr),
	} {
		for how, r := range map[string]io.Reader{
			"whole": strings.NewReader(raw), "octets": iotest.OneByteReader(strings.NewReader(raw)), "with EOF": iotest.DataErrReader(strings.NewReader(raw)),
		} {
			if got, err := io.ReadAll(NewReader(r)); err != nil || string(got) != text {
				t.Errorf("%s, %s: %q %v", name, how, got, err)
			}
		}
	}
	for raw, want := range map[string]string{
		"": "", "\xff\xfe": "", "\xff\xfea": "\ufffd", "\xff\xfe\x00\xd8": "\ufffd", "\xff\xfe\x00\xd8a\x00": "\ufffda",
		"\xff\xfe\x00\xdca\x00": "\ufffda", "\xfe": "\xfe", "\r": "\n", "a\xffb": "a\xffb",
	} {
		if got, err := io.ReadAll(NewReader(strings.NewReader(raw))); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", raw, got, err)
		}
	}
	if _, err := io.ReadAll(NewReader(iotest.ErrReader(io.ErrClosedPipe))); err == nil {
		t.Error("an error of the reader is lost")
	}
}

func FuzzReader(f *testing.F) {
	f.Add("\xff\xfea\x00\r\x00\n\x00")
	f.Add("\xef\xbb\xbfa\r\n\rb")
	f.Fuzz(func(t *testing.T, raw string) {
		whole, err := io.ReadAll(NewReader(strings.NewReader(raw)))
		if err != nil || strings.Contains(string(whole), "\r") {
			t.Fatalf("%q %v", whole, err)
		}
		parts, err := io.ReadAll(NewReader(iotest.OneByteReader(strings.NewReader(raw))))
		if err != nil || string(parts) != string(whole) {
			t.Fatalf("%q and %q, %v", whole, parts, err)
		}
		if (strings.HasPrefix(raw, "\xff\xfe") || strings.HasPrefix(raw, "\xfe\xff")) && !utf8.Valid(whole) {
			t.Fatalf("%q is not UTF-8", whole)
		}
	})
}
