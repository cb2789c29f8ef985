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

package accounts

import (
	"encoding/binary"
	"io"
	"slices"
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

func TestTextReader(t *testing.T) {
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
			if got, err := io.ReadAll(NewTextReader(r)); err != nil || string(got) != text {
				t.Errorf("%s, %s: %q %v", name, how, got, err)
			}
		}
	}
	for raw, want := range map[string]string{
		"": "", "\xff\xfe": "", "\xff\xfea": "\ufffd", "\xff\xfe\x00\xd8": "\ufffd", "\xff\xfe\x00\xd8a\x00": "\ufffda",
		"\xff\xfe\x00\xdca\x00": "\ufffda", "\xfe": "\xfe", "\r": "\n", "a\xffb": "a\xffb",
	} {
		if got, err := io.ReadAll(NewTextReader(strings.NewReader(raw))); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", raw, got, err)
		}
	}
	if _, err := io.ReadAll(NewTextReader(iotest.ErrReader(io.ErrClosedPipe))); err == nil {
		t.Error("an error of the reader is lost")
	}
}

// A dry run and an import say the same of every line, in whatever way the file
// is written.
func TestDryRunAgreesWithImport(t *testing.T) {
	const text = `{"name":"a@example.com","upstream":"1"}` + "\n" + `{"name":"b@example.com" "upstream":"1"}` + "\n\n" +
		`{"name":"c@example.com","upstream":"1","nope":1}` + "\n" + `null` + "\n" + `{"upstream":"1"}` + "\n" +
		`{"name":"a@example.com","upstream":"2"}` + "\n" + `{"name":"d","upstream":"1"} {}` + "\n" + `{"name":"ü@example.com","upstream":"1","limits":{"rate":"x"}}` + "\n" +
		`{"name":"e@example.com","upstream":""}` + "\n" + `{"name":"f@example.com","upstream":"1"}`
	for name, raw := range map[string]string{
		"plain": text, "mark, CRLF": "\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n"), "CR": strings.ReplaceAll(text, "\n", "\r"),
		"UTF-16": utf16Of(binary.LittleEndian, text), "cut": text[:len(text)-20], "long line": text + "\n" + strings.Repeat("x", maxLine+1) + "\n" + `{"name":"g","upstream":"1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			src, _ := newProcess(t, t.TempDir())
			d := NewDirectory([]Source{src}, nil)
			if err := d.Start(); err != nil {
				t.Fatal(err)
			}
			defer d.Stop()
			type result struct {
				line        int
				name, field string
				err         string
			}
			var dry, real []result
			for _, r := range DryRun(strings.NewReader(raw)) {
				dry = append(dry, result{r.Line, r.Name, r.Field, r.Error})
			}
			for r := range d.Import(t.Context(), strings.NewReader(raw)) {
				real = append(real, result{r.Line, r.Name, r.Field, r.Error})
			}
			if !slices.Equal(dry, real) || len(dry) < 8 {
				t.Errorf("dry run:\n%+v\nimport:\n%+v", dry, real)
			}
		})
	}
}

func FuzzTextReader(f *testing.F) {
	f.Add("\xff\xfea\x00\r\x00\n\x00")
	f.Add("\xef\xbb\xbfa\r\n\rb")
	f.Fuzz(func(t *testing.T, raw string) {
		whole, err := io.ReadAll(NewTextReader(strings.NewReader(raw)))
		if err != nil || strings.Contains(string(whole), "\r") {
			t.Fatalf("%q %v", whole, err)
		}
		parts, err := io.ReadAll(NewTextReader(iotest.OneByteReader(strings.NewReader(raw))))
		if err != nil || string(parts) != string(whole) {
			t.Fatalf("%q and %q, %v", whole, parts, err)
		}
		if (strings.HasPrefix(raw, "\xff\xfe") || strings.HasPrefix(raw, "\xfe\xff")) && !utf8.Valid(whole) {
			t.Fatalf("%q is not UTF-8", whole)
		}
	})
}
