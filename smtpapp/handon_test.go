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
	"testing"

	"github.com/caddymail/mailgateway/internal/front"
)

// TestHandOn sends clients to other nodes: idle ones at once, others after their
// message, new ones in place of the greeting, also after a reload; and takes them
// again afterwards.
func TestHandOn(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	config := func(hostname string) object {
		return caddyConfig(t, object{
			"hostname": hostname,
			"servers":  object{"local": object{"listen": []string{addr}, "tls": object{"mode": "off"}}},
		})
	}
	mustLoad(t, config("one.test"))
	defer stopCaddy(t)
	idle, busy := dial(t, addr), dial(t, addr)
	idle.login()
	busy.login()
	busy.play(`
		C: MAIL FROM:<` + testUser + `>
		M: 250
		C: RCPT TO:<a@example.net>
		M: 250
		C: DATA
		M: 354`)
	runningApp(t).HandOn(true)
	defer front.HandOn(false, nil)
	idle.expect("421 4.3.2")
	idle.expectEOF()
	newcomer := func(want string) {
		t.Helper()
		dial(t, addr).expect(want)
	}
	newcomer("421 4.3.2")
	busy.send("Subject: x\r\n\r\nx\r\n.\r\n")
	busy.expect("250")
	busy.expect("421 4.3.2")
	busy.expectEOF()
	mustLoad(t, config("two.test"))
	newcomer("421 4.3.2")
	runningApp(t).HandOn(false)
	newcomer("220 two.test")
}
