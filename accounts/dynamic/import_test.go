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

package dynamic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/caddymail/mailgateway/accounts"
)

func TestImport(t *testing.T) {
	src, _ := newProcess(t, t.TempDir())
	d := accounts.NewDirectory([]accounts.Source{newFixed(t, "fixed"), src}, nil)
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, `{"name":"a%d@example.com","upstream":"u","refresh_token":"seed","labels":{"long":"%s"}}`+"\n", i, strings.Repeat("x", 1000))
	}
	text.WriteString("\n" + `{"name":"bad","upstream":"u","senders":["@"]}` + "\n")
	text.WriteString(`{"name":"FIXED","upstream":"u"}` + "\n")
	text.WriteString(`{"name":"a1@example.com","upstream":"v"}` + "\n")
	text.WriteString(`{"upstream":"v"}` + "\n")
	text.WriteString("not JSON, MARKED\n")
	text.WriteString(`{"name":"last","upstream":"u"}`)
	run := func() (map[string]int, []accounts.ImportResult) {
		counts := make(map[string]int)
		var bad []accounts.ImportResult
		line := 0
		for r := range d.Import(t.Context(), strings.NewReader(text.String())) {
			if r.Line <= line {
				t.Errorf("line %d after %d", r.Line, line)
			}
			line = r.Line
			counts[r.Result]++
			if r.Err != nil {
				bad = append(bad, r)
				if strings.Contains(r.Error, "MARKED") {
					t.Error(r.Error)
				}
			}
		}
		return counts, bad
	}
	counts, bad := run()
	if counts["created"] != 301 || counts["updated"] != 1 || len(bad) != 4 {
		t.Errorf("first: %v, %v", counts, bad)
	}
	if len(bad) == 4 && (bad[0].Line != 302 || bad[0].Field != "senders[0]" || bad[0].Name != "bad" || !errors.Is(bad[1].Err, accounts.ErrReadOnly) ||
		bad[2].Field != "name" || bad[3].Line != 306) {
		t.Errorf("bad: %+v", bad)
	}
	if a, ok := d.Lookup("a1@example.com"); !ok || a.Upstream != "v" || a.RefreshToken != "seed" {
		t.Errorf("%v", a)
	}
	counts, _ = run()
	if counts["created"] != 0 || counts["updated"] != 2 || counts["unchanged"] != 300 {
		t.Errorf("again: %v", counts) // a1 goes back and forth
	}
	// Who stops reading stops the import.
	for range d.Import(t.Context(), strings.NewReader(`{"name":"x","upstream":"u"}`+"\n")) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for r := range d.Import(ctx, strings.NewReader(`{"name":"y","upstream":"u"}`+"\n")) {
		if !errors.Is(r.Err, accounts.ErrUnavailable) {
			t.Errorf("cancelled: %+v", r)
		}
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
		"UTF-16": utf16Of(binary.LittleEndian, text), "cut": text[:len(text)-20], "long line": text + "\n" + strings.Repeat("x", (1<<20)+1) + "\n" + `{"name":"g","upstream":"1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			src, _ := newProcess(t, t.TempDir())
			d := accounts.NewDirectory([]accounts.Source{src}, nil)
			if err := d.Start(); err != nil {
				t.Fatal(err)
			}
			defer d.Stop()
			type result struct {
				line        int
				name, field string
				err         string
			}
			var dry, asked, real []result
			for _, r := range accounts.DryRun(strings.NewReader(raw)) {
				dry = append(dry, result{r.Line, r.Name, r.Field, r.Error})
			}
			for r := range d.CheckImport(t.Context(), strings.NewReader(raw)) {
				asked = append(asked, result{r.Line, r.Name, r.Field, r.Error})
			}
			if _, ok := d.Lookup("a@example.com"); ok {
				t.Error("the check changes the directory")
			}
			for r := range d.Import(t.Context(), strings.NewReader(raw)) {
				real = append(real, result{r.Line, r.Name, r.Field, r.Error})
			}
			if !slices.Equal(dry, real) || !slices.Equal(asked, real) || len(dry) < 8 {
				t.Errorf("dry run:\n%+v\ncheck:\n%+v\nimport:\n%+v", dry, asked, real)
			}
		})
	}
}

func utf16Of(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}
