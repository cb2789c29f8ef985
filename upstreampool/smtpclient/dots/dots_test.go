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

package dots

import (
	"bytes"
	"testing"
)

// FuzzStuffer checks against the definition: a strict server reads the same
// bytes, and no server, however lax about line ends, sees an end before the end.
func FuzzStuffer(f *testing.F) {
	for _, s := range []string{"", ".", "\r\n.\r\n", "\n.\n", "\r.\r", "a\r\n..b", "\r\n.", "\n.", "a\r", "..\r\n.\r\n"} {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, piece uint8) {
		st := New()
		var wire []byte
		ok := true
		for rest := body; ok && len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			wire, ok = st.Append(wire, rest[:n])
			rest = rest[n:]
		}
		if ok {
			wire, ok = st.End(wire)
		}
		lone := loneDot(body)
		if ok == lone {
			t.Fatalf("%q: sent %v, a lone dot %v", body, ok, lone)
		}
		if !ok {
			return
		}
		all := append([]byte("\r\n"), wire...)
		for _, before := range []string{"\r\n", "\n", "\r"} {
			for _, after := range []string{"\r\n", "\n", "\r"} {
				end := bytes.Index(all, []byte(before+"."+after))
				if end >= 0 && end+len(before) < len(all)-3 {
					t.Fatalf("%q ends early at %d: %q", body, end, all)
				}
			}
		}
		read := all[:len(all)-len(".\r\n")]
		read = bytes.ReplaceAll(read, []byte("\r\n."), []byte("\r\n"))[2:]
		if want := body; !bytes.Equal(read, want) && !bytes.Equal(read, append(append([]byte(nil), want...), "\r\n"...)) {
			t.Fatalf("%q became %q", body, read)
		}
	})
}

// loneDot tells whether a dot stands alone after a bare line end.
func loneDot(body []byte) bool {
	b := append([]byte("\r\n"), body...)
	for i := 2; i < len(b); i++ {
		if b[i] != '.' || !LineEnd(b[i-1]) || b[i-1] == '\n' && b[i-2] == '\r' {
			continue
		}
		if i+1 == len(b) || LineEnd(b[i+1]) {
			return true
		}
	}
	return false
}
