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
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/caddymail/mailgateway/accounts"
)

// awaySource has accounts that it cannot read.
type awaySource struct{ testSource }

func (*awaySource) Load(context.Context, string) (*accounts.Account, error) {
	return nil, errors.New("connection refused")
}
func (*awaySource) Missed(string) {}
func (*awaySource) Confirm(context.Context, string) (*accounts.Account, error) {
	return nil, errors.New("connection refused")
}

// TestSourceAway holds that nothing final is said of an account while its source
// cannot be read: neither that the login is gone, nor that one is needed.
func TestSourceAway(t *testing.T) {
	away := new(awaySource)
	s := startServer(t, func(p *policy) {
		p.trust = []trustedNet{{prefix: netip.MustParsePrefix("127.0.0.0/8"), account: "printer@example.com"}}
	})
	s.gen.directory = accounts.NewDirectory([]accounts.Source{away}, nil)
	away.index.Set(mustCompile(t, testRecord(testUser)))
	away.index.Set(mustCompile(t, testRecord("printer@example.com")))
	away.index.SetLoading(true)

	trusted, login := dial(t, s.addr), dial(t, s.addr)
	trusted.play(`
		M: 220
		C: EHLO printer
		M: 250
		C: MAIL FROM:<scan@example.com>
		M: 250
		C: RSET
		M: 250`)
	login.play(`
		M: 220
		C: EHLO host
		M: 250
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		M: 235`)
	away.index.Replace(nil)
	trusted.play(`
		C: MAIL FROM:<scan@example.com>
		M: 454 4.7.0
		C: NOOP
		M: 250`)
	login.play(`
		C: MAIL FROM:<a@example.com>
		M: 454 4.7.0
		C: NOOP
		M: 250`)
	c := dial(t, s.addr)
	c.play(`
		M: 220
		C: EHLO host
		M: 250
		C: MAIL FROM:<scan@example.com>
		M: 454 4.7.0
		C: AUTH PLAIN ` + plain(testUser, testPassword) + `
		M: 454 4.7.0
		C: AUTH PLAIN ` + plain(testUser, "wrong") + `
		M: 454 4.7.0`)
	if got := s.up.taken(); len(got) != 0 {
		t.Errorf("%d messages went out", len(got))
	}
	away.index.Set(mustCompile(t, testRecord(testUser)))
	login.play(`
		C: MAIL FROM:<a@example.com>
		M: 250`)
	// What is held is as little known as what is not, but for who has the password.
	for _, tc := range []struct{ name, password, want string }{
		{testUser, "wrong", "454 4.7.0"}, {"nobody@example.com", "wrong", "454 4.7.0"}, {testUser, testPassword, "235"},
	} {
		c := dial(t, s.addr)
		c.play(`
		M: 220
		C: EHLO host
		M: 250
		C: AUTH PLAIN ` + plain(tc.name, tc.password) + `
		M: ` + tc.want)
	}
}
