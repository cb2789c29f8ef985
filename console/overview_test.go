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

package console_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var sumAccepted = regexp.MustCompile(`accepted</dt><dd>(\d+)</dd>`)

// accepted waits until the pictures of the last day and week have this many messages
// accepted; any number if it is negative. A message is counted after its reply.
func (c *console) accepted(t *testing.T, want int) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p := c.get(t, "/console/", "Messages lately", "The last 24 hours", "The last 7 days")
		sums := sumAccepted.FindAllStringSubmatch(p.body, -1)
		if len(sums) != 2 || sums[0][1] != sums[1][1] && want < 0 {
			t.Fatalf("no sums:\n%s", p.body)
		}
		n, err := strconv.Atoi(sums[0][1])
		if err != nil {
			t.Fatal(err)
		}
		if want < 0 {
			return n
		}
		if n == want && sums[1][1] == sums[0][1] {
			if !strings.Contains(p.body, `<rect class="good"`) || !strings.Contains(p.body, `role="img" aria-label="The last 24 hours: `) {
				t.Errorf("no picture:\n%s", p.body)
			}
			return n
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s and %s are accepted, want %d", sums[0][1], sums[1][1], want)
		}
	}
}

// TestPictureOfThePast has what was sent on the first page, under the next configuration
// and with the storage of a process before it.
func TestPictureOfThePast(t *testing.T) {
	c := newConsole(t, "")
	pw := c.AddAccount(t, "past@example.com")
	before := c.accepted(t, -1)
	c.send(t, "past@example.com", pw, "one@example.net")
	c.send(t, "past@example.com", pw, "two@example.net")
	c.accepted(t, before+2)
	// The end of a configuration writes what was counted: the next one reads it.
	c.reload(t, func(map[string]any) {})
	c.accepted(t, before+2)
	file := filepath.Join(c.Dir, "storage", "smtp", "history.json")
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), `"accepted":`) {
		t.Errorf("stored: %s, %v", b, err)
	}
	hour := strconv.FormatInt(time.Now().Unix()/3600, 10)
	if err := os.WriteFile(file, []byte(`{"version":1,"hours":[{"at":`+hour+`,"accepted":1000}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.accepted(t, 1000)
	// One that cannot be read is no reason for no page.
	if err := os.WriteFile(file, []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.get(t, "/console/", "The storage cannot be read", "What needs someone")
}

// TestTroublesHideNone has many accounts in one trouble, and one in a worse at the end of
// the alphabet.
func TestTroublesHideNone(t *testing.T) {
	c := newConsole(t, "")
	for i := range 40 {
		c.Do(t, "PUT", fmt.Sprintf("/smtp/accounts/a%02d@example.com", i), `{"upstream": "oauth"}`).Want(http.StatusCreated)
	}
	c.Do(t, "PUT", "/smtp/accounts/zz@example.com", `{"upstream": "oauth", "refresh_token": "made-up-of-nobody"}`).Want(http.StatusCreated)
	c.Do(t, "POST", "/smtp/accounts/zz@example.com/verify", "")
	p := c.get(t, "/console/", "40 accounts: Waiting for consent", "/console/accounts?state=never_consented", "zz@example.com: Consent has ended")
	if strings.Contains(p.body, "a00@example.com") || strings.Index(p.body, "zz@example.com") > strings.Index(p.body, "40 accounts") {
		t.Errorf("the worse is not before the others:\n%s", p.body)
	}
}

// TestFailingDeviceIsOnTheFirstPage has a device of the office fail: whoever looks at the
// first page is told which, why and what to do.
func TestFailingDeviceIsOnTheFirstPage(t *testing.T) {
	c := newConsole(t, "")
	c.AddAccount(t, "printer@example.com")
	if c.login(t, "printer@example.com", "not the password") {
		t.Fatal("a wrong password is right")
	}
	c.get(t, "/console/", "The device at 127.0.0.1 (printer@example.com) was refused", "See what was refused")
}
