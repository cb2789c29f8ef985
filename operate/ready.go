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

package operate

import (
	"errors"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// Ready returns why no client should come to this process now; nil if it takes
// mail. It looks at what the process knows, and asks no database, provider or disk:
// what is away is no reason as long as mail is taken without it.
func Ready() error {
	smtp, err := App[*smtpapp.App]("smtp")
	if err != nil {
		return err
	}
	upstreams, err := App[*upstreamapp.App]("smtp_upstreams")
	switch {
	case err != nil:
		return err
	case caddy.Exiting():
		return errors.New("the process ends")
	case smtp.HandsOn():
		return errors.New(invoked.Words("this node is out of service: `caddy smtp node resume` ends that"))
	case !upstreams.Lends() && !keeps(smtp, upstreams):
		return errors.New("the lease of `limits postgres` is over, since the database has not answered: messages are refused with 451")
	}
	return nil
}

// keeps reports whether a spool takes somebody's mail that cannot be sent.
func keeps(smtp *smtpapp.App, upstreams *upstreamapp.App) bool {
	on := func(mode string) bool { return mode != "" && mode != accounts.SpoolOff }
	if upstreams.Keeps() {
		return true
	}
	for _, server := range smtp.Servers {
		if on(server.Spool) {
			return true
		}
	}
	all, _ := smtp.Directory().List(accounts.Filter{}, "", 0)
	for _, account := range all {
		if on(account.Spool) {
			return true
		}
	}
	return false
}
