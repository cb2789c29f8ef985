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

package admin_test

import (
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
)

// TestSourceIPOfAnotherMachine: an account that can open no connection says so before a
// message has failed, with cause and remedy, and no longer once that is mended.
func TestSourceIPOfAnotherMachine(t *testing.T) {
	g := gatewaytest.New(t)
	g.AddAccount(t, "bound@example.com")
	for _, tc := range []struct {
		source string
		bad    bool
	}{{"192.0.2.1", true}, {"127.0.0.1", false}, {"2001:db8::1", true}} {
		if a := g.Do(t, "PATCH", "/smtp/accounts/bound@example.com", `{"source_ip":"`+tc.source+`"}`); a.Status >= 300 {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		account, doctor := string(g.Do(t, "GET", "/smtp/accounts/bound@example.com", "").Body), string(g.Do(t, "GET", "/smtp/doctor", "").Body)
		if got := strings.Contains(account, `"state":"refused"`); got != tc.bad {
			t.Errorf("%s: %s", tc.source, account)
		}
		const cause, remedy = "is not an address of this machine", "Give the machine the address"
		if got := strings.Contains(doctor, cause) && strings.Contains(doctor, remedy) && strings.Contains(doctor, "bound@example.com"); got != tc.bad {
			t.Errorf("%s: %s", tc.source, doctor)
		}
	}
}
