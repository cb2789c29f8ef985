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

//go:build unix

package ldap

import (
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
)

// TestHangs holds that a server that takes connections and says nothing costs its own
// time, not the next one's.
func TestHangs(t *testing.T) {
	one, _, set := twoServers(t)
	set.Timeout = caddy.Duration(2 * time.Second)
	for _, idle := range []bool{false, true} {
		own := *set
		if idle {
			own.CacheSize = 100 // connections of its own
		}
		a := accountsOf(start(t, &own))
		if idle {
			wantLogin(t, a, "ann@example.com", userPass, nil)
		}
		if err := one.slapd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		wantLogin(t, a, "ann@example.com", userPass, nil)
		wantLogin(t, a, "ann@example.com", "not-that-password", accounts.ErrBadCredentials)
		if err := one.slapd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}
