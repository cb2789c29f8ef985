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

package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// message is a message that MTAs and libraries have no reason to add to: it
// has every header that they would supply.
func message(id, from, to string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n", from, to, id)
	fmt.Fprintf(&b, "Date: Mon, 01 Jun 2026 10:00:00 +0000\r\nMessage-ID: <%s@interop.test>\r\n", id)
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	b.Write(body)
	return b.Bytes()
}

// The bodies that have broken relays before. All end with CRLF, which is the
// only way that DATA can end.
var bodies = map[string][]byte{
	"empty":      nil,
	"plain":      []byte("Hello\r\n"),
	"dot":        []byte(".\r\n"),
	"dots":       []byte(".\r\n..\r\n.leading\r\n...\r\nmiddle.\r\n.\r\n"),
	"eightbit":   []byte("Grüße, 世界\r\n\xff\xfe raw bytes \x80\r\n"),
	"blanklines": []byte("\r\n\r\n\r\n\r\n"),
	"fulllines":  []byte(strings.Repeat(strings.Repeat("x", 998)+"\r\n", 50)),
	"big":        []byte(strings.Repeat("0123456789abcdef.0123456789abcdef.0123456789abcdef\r\n", 20_000)),
}

func sha256hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// afterHeader is the body of a message, for what adds fields to the header.
func afterHeader(msg []byte) []byte {
	if bytes.HasPrefix(msg, []byte("\r\n")) {
		return msg[2:]
	}
	_, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	return body
}
