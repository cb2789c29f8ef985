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

package smtpclient

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddymail/mailgateway/relay"
)

// FuzzLoginRefused feeds the reader of the 334 error challenge and of the
// refusal after it.
func FuzzLoginRefused(f *testing.F) {
	for _, s := range []string{
		`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`, `{"status":"invalid_token"}`, `{"status":400}`, "", "null", "[]", "\x01", "{",
	} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(s)), "535 5.7.8 no")
	}
	f.Add("not base64", "454 4.7.0 Too many login attempts")
	f.Add("", "432 4.3.2 Concurrent connections limit exceeded")
	f.Fuzz(func(t *testing.T, challenge, refusal string) {
		c := &Conn{br: bufio.NewReader(strings.NewReader("334 " + challenge + "\r\n" + refusal + "\r\n"))}
		c.replies = relay.NewReplyReader(c.br)
		if code, err := c.replies.Read(); err != nil || code != 334 {
			return
		}
		raw := c.challenge()
		if _, err := c.replies.Read(); err != nil {
			return
		}
		e := c.loginRefused(raw)
		if e.Reply == nil || e.Reply.Code < 400 || e.Reply.Code > 499 {
			t.Fatalf("%q %q: %+v", challenge, refusal, e)
		}
		for _, text := range []string{e.Error(), string(e.Reply.Append(nil))} {
			if !utf8.ValidString(text) || bytes.ContainsAny([]byte(strings.TrimSuffix(text, "\r\n")), "\r\n\x00") {
				t.Fatalf("unsafe: %q", text)
			}
		}
	})
}
