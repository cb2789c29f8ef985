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

package smtpapp

import (
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/internal/front"
)

// FuzzCommands feeds a session whatever comes. It must not panic, must answer
// with well-formed replies only, and must never deliver without a login.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n",
		"HELO x\r\nAUTH LOGIN\r\nYQ==\r\nYQ==\r\n*\r\n",
		"EHLO x\r\nAUTH PLAIN =\r\nAUTH PLAIN AGEAYg==\r\n",
		"BDAT 4\r\nabcdBDAT 0 LAST\r\nNOOP\n",
		"\r\n\r\n \r\n\x00\r\nSTARTTLS\r\n",
		"MAIL FROM:<" + strings.Repeat("a", 3000) + "\r\nNOOP\r\n",
	} {
		f.Add([]byte(s), uint16(5))
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		up := new(fakeUpstream)
		source := new(testSource)
		source.index.Set(mustCompile(t, testRecord(testUser)))
		g := newTestGeneration(t, up, source, testPolicy())
		p := newPoint()
		p.attach(g)
		nc := &scriptConn{in: cutReader{b: raw, cut: int(cut%512) + 1}}
		p.Serve(g.front, nc, nil)
		if len(up.taken()) != 0 {
			t.Fatal("delivered without a login")
		}
		if left := g.front.Load(); left != (front.Load{}) {
			t.Errorf("places left over: %+v", left)
		}
		out := nc.out.String()
		if out != "" && !strings.HasSuffix(out, "\r\n") {
			t.Errorf("output does not end with a line: %q", out)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if len(line) < 4 || line[0] < '2' || line[0] > '5' || line[3] != ' ' && line[3] != '-' || strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("reply line %q", line)
			}
		}
	})
}
