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

package words

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	size := Funcs["size"].(func(int64) string)
	for n, want := range map[int64]string{-1: "0 B", 999: "999 B", 1834: "1.8 kB", 3_200_000: "3.2 MB"} {
		if got := size(n); got != want {
			t.Errorf("%d octets are %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 ms", 420 * time.Millisecond: "420 ms", 5123 * time.Millisecond: "5.1 seconds", 125 * time.Second: "2 min 5 s"} {
		if got := Took(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	berlin := time.Date(2026, 11, 27, 0, 49, 0, 0, time.FixedZone("CET", 3600))
	if got, want := Time(berlin), `<time datetime="2026-11-26T23:49:00Z">2026-11-26 23:49 UTC</time>`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestByLink(t *testing.T) {
	const link = "ake a link for the owner's consent on the account's page, and have the owner open it"
	for remedy, want := range map[string]string{
		"Run `caddy smtp login ACCOUNT`, as the mailbox's owner.":               "M" + link + ".",
		"caddy smtp login ACCOUNT, as the mailbox's owner.":                     "M" + link + ".",
		"Check `mailbox`, and ask for consent again: caddy smtp login ACCOUNT.": "Check `mailbox`, and ask for consent again: m" + link + ".",
		"Look there. Run `caddy smtp login a.b@example.com` again.":             "Look there. M" + link + ".",
		"The mailbox has not consented yet: run `caddy smtp login` for it":      "The mailbox has not consented yet: m" + link + " for it",
		"Check the recipient.": "Check the recipient.",
	} {
		if got := ByLink(remedy); got != want {
			t.Errorf("%s\nis   %s\nwant %s", remedy, got, want)
		}
	}
}
