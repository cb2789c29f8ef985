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
	"crypto/tls"
	"testing"
)

// TestProtocol holds that how messages come in is called as RFC 3848 has it.
func TestProtocol(t *testing.T) {
	for _, c := range []struct {
		said      string
		encrypted bool
		want      string
	}{
		{"HELO c\r\n", false, "SMTP"},
		{"HELO c\r\n", true, "ESMTPS"},
		{"HELO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n", false, "ESMTPA"},
		{"EHLO c\r\n", false, "ESMTP"},
		{"EHLO c\r\nHELO c\r\n", false, "SMTP"},
		{"EHLO c\r\n", true, "ESMTPS"},
		{login, false, "ESMTPA"},
		{login, true, "ESMTPSA"},
		{"EHLO c\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\n", true, "ESMTPS"},
	} {
		var state *tls.ConnectionState
		if c.encrypted {
			state = new(tls.ConnectionState)
		}
		conn := New(&script{in: &cutReader{b: []byte(c.said), cut: 512}}, &recorder{cfg: tolerantConfig()}, tolerantConfig(), state)
		conn.Serve()
		if got := conn.Protocol(); got != c.want {
			t.Errorf("%q, encrypted %t: %s, want %s", c.said, c.encrypted, got, c.want)
		}
	}
}
