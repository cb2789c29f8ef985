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

package gmail

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// busy is a transport whose mailboxes may send a lot.
func busy(wait time.Duration) Transport {
	return Transport{RatePerAccount: accounts.Rate{Count: 10000, Per: time.Minute}, MaxWait: caddy.Duration(wait)}
}

func TestRevoked(t *testing.T) {
	cfg := busy(time.Minute)
	tr, sb, _ := start(t, &sandbox.App{GmailUnitsPerMinute: -1}, cfg)
	apitest.Revoked(t, sb, tr)
}

func TestStorm(t *testing.T) {
	cfg := busy(time.Millisecond)
	tr, sb, _ := start(t, &sandbox.App{GmailUnitsPerMinute: -1}, cfg)
	apitest.Storm(t, sb, tr, "429 rateLimitExceeded User-rate limit exceeded", tr.MaxConnsPerAccount)
}

func TestWeather(t *testing.T) {
	cfg := busy(5 * time.Second)
	tr, sb, _ := start(t, &sandbox.App{GmailUnitsPerMinute: -1}, cfg)
	apitest.Weather(t, sb, tr, "429 rateLimitExceeded User-rate limit exceeded", tr.MaxConnsPerAccount)
}

func TestUnquotedFrom(t *testing.T) {
	tr, sb, _ := start(t, new(sandbox.App), Transport{})
	apitest.UnquotedFrom(t, sb, tr)
}
