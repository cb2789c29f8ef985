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

package docs

import (
	"regexp"
	"strings"
	"testing"
)

// claims are the figures of security.md and limits.md that no test of behaviour
// holds, since they are constants: each sentence with the line that makes it true.
// What the pages say of behaviour is held by the tests that their rows name
// (TestNamedTests).
var claims = []struct{ page, says, file, code string }{
	// Who may send.
	{"security.md", "250 ms, doubled with every further wrong password", "../smtpapp/provision.go", `defaultAuthDelay += 250 \* time.Millisecond`},
	{"security.md", "up to 8 s", "../internal/front/guard.go", `maxDelay = 8 \* time.Second`},
	{"security.md", "3 failures end the connection", "../smtpapp/provision.go", `maxAuthTries += 3\n`},
	{"security.md", "5 different wrong logins in 10 min", "../smtpapp/provision.go", `defaultAuthMax += 5\n\tdefaultAuthWindow += 10 \* time.Minute`},
	{"security.md", "a bounded queue (256)", "../accounts/password/verify.go", `maxQueued = 256\n`},
	{"security.md", "no account gets more than 4 places", "../accounts/password/verify.go", `accountShare = 4\n`},
	{"security.md", "no client more than 64", "../accounts/password/verify.go", `clientShare = 64\n`},
	{"security.md", "6 h at most", "../accounts/password/cache.go", `cacheTTL += 6 \* time.Hour`},
	// Exhaustion.
	{"security.md", "4 times as many for a /48", "../internal/front/counters.go", `siteFactor = 4\n`},
	{"security.md", "`login_timeout` (30 s)", "../smtpapp/provision.go", `defaultLoginTimeout += 30 \* time.Second`},
	{"security.md", "2,048-octet commands", "../smtpapp/smtpserver/command.go", `maxCommand = 2 << 10\n`},
	{"security.md", "12,288 for AUTH", "../smtpapp/smtpserver/command.go", `maxAuthLine = 12288 \+ 2\n`},
	{"security.md", "1 MiB bound, `timeout`", "../oauthtoken/authserver/response.go", `maxResponse = 1 << 20\n`},
	// Bans.
	{"security.md", "within 7 days", "../internal/front/guard.go", `goodFor = 7 \* 24 \* time.Hour`},
	{"security.md", "4 times as many, and one for each account", "../internal/front/guard.go", `spare = 4\n`},
	{"security.md", "site: IPv4 /26, IPv6 /48 | twice as many", "../internal/front/guard.go", `\{26, 48, 2\}`},
	{"security.md", "neighbourhood: IPv4 /21, IPv6 /32 | ten times as many", "../internal/front/guard.go", `\{21, 32, 10\}`},
	{"security.md", "holds 100,000 networks and names and 1,000,000 logins", "../internal/front/guardstore.go", `(?s)maxTracked = 100_000\n.*maxPairs = 1_000_000\n`},
	{"security.md", "At most 10,000 answers are held back", "../internal/front/guard.go", `maxWaiting = 10_000\n`},

	{"replies.md", "More than 2,048 octets", "../smtpapp/smtpserver/command.go", `maxCommand = 2 << 10\n`},

	// What adapts, and what is given back.
	{"limits.md", "one more after 1 min, later after up to 10 min", "../upstreampool/pace/pace.go", `(?s)raisePause += time.Minute .*raiseCap += 10 \* time.Minute\n`},
	{"limits.md", "alone for 1 s, doubled up to 5 min", "../upstreampool/pace/pace.go", `(?s)redialPause += time.Second .*loginCap += 5 \* time.Minute`},
	{"limits.md", "breaker for 1 s, doubled up to 30 s", "../upstreampool/dialer/dialer.go", `BreakerPause = time.Second\n\tbreakerCap += 30 \* time.Second\n`},
	{"limits.md", "answered its QUIT, for at most 15 s", "../upstreampool/upstream.go", `slowQuit += 15 \* time.Second`},
	{"limits.md", "a period under 10 min up to a quarter", "../limits/layer.go", `longPeriod = 10 \* time.Minute\n`},
	{"limits.md", "up to a hundredth of the limit (at least 10)", "../limits/reserve.go", `max\(10, c/100\)`},
	{"limits.md", "1,000 for Google's and Microsoft's presets, else 100", "../upstreampool/preset/preset.go", `manyMessages = 1000\n`},
	{"limits.md", "given back after 30 s without a message", "../limits/reserve.go", `idleAfter = 30 \* time.Second`},
	{"limits.md", "a sign of life every 10 s and is taken for dead after 30 s", "../limits/lane/beat.go", `(?s)DeadAfter = 30 \* time.Second.*beatEvery = 10 \* time.Second`},
}

// TestClaims holds that the figures of the pages are those of the code.
func TestClaims(t *testing.T) {
	for _, c := range claims {
		if !strings.Contains(read(t, c.page), c.says) {
			t.Errorf("%s does not say %q: %s", c.page, c.says, c.code)
		}
		if !regexp.MustCompile(c.code).MatchString(read(t, c.file)) {
			t.Errorf("%s says %q, and %s has no %s", c.page, c.says, c.file, c.code)
		}
	}
}
