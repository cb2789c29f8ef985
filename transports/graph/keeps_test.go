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

package graph

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// TestKeeps holds that the page says what the defaults are, and what tests hold.
func TestKeeps(t *testing.T) {
	tr := new(Transport)
	if err := tr.fill(); err != nil {
		t.Fatal(err)
	}
	apitest.Keeps(t, "graph", map[string]apitest.Kept{
		"envelope":                        {"none", "TestRandomEnvelopes"},
		"replies for each recipient":      {"as a report to the mailbox", "TestLimitsAfterTheAnswer"},
		"250 means":                       {"Graph answered 202", "TestFaults"},
		"DSN (NOTIFY, RET, ENVID, ORCPT)": {"refused with `555 5.5.4`, but for ORCPT and NOTIFY=FAILURE", "../internal/mailapi.TestDSN"},
		"largest message":                 {apitest.Commas(tr.MaxSize) + " octets", "TestRefusedBeforeTheBody"},
		"memory of a message":             {"all of it, once", "TestMemory"},
		"the message's octets":            {"(Microsoft)", "TestOneMessage"},
		"Bcc fields":                      {"taken off before delivery", "TestRandomEnvelopes"},
		"From":                            {"others' need SendAs", "TestFaults"},
		"Sent Items":                      {"fills the mailbox", "TestFaults"},
		"connections at a time":           {fmt.Sprintf("%d requests a mailbox", tr.MaxConnsPerAccount), "../internal/mailapi.TestFourAtATime"},
		"counts after a restart":          {"stored", "../internal/mailapi.TestRestart"},
		"recipients of a message":         {fmt.Sprintf("%d (`max_recipients`), and `%.9s`", maxRecipients, relay.ReplyTooManyRcpts.Error()), "../internal/mailapi.TestRecipientsOfAMessage"},
		"uploads":                         {fmt.Sprintf("%s octets of requests in %.0f minutes", apitest.Commas(uploadLimit), uploadPer.Minutes()), "../internal/mailapi.TestUpload"},
		"null sender":                     {map[bool]string{false: "refused", true: "yes"}[tr.NullSender], "TestRefusedBeforeTheBody"},
		"sending limits":                  {"the same ones", "../internal/mailapi.TestPlacesOfTheLedger"},
	})
}

// TestMemory holds what a message takes of memory until it has left: each of its
// octets once. It is the least of several, since what is left of other tests counts
// along.
func TestMemory(t *testing.T) {
	tr, _, _ := start(t, Transport{})
	const size = 2_900_000
	msg := plain + strings.Repeat("0123456789abcdef\r\n", (size-len(plain))/18)
	least := math.Inf(1)
	for range 5 {
		runtime.GC()
		runtime.GC() // what the pools have is gone now
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body, reply := tr.prepare(apitest.Account(), []string{"a@example.org", "blind@example.org"}, strings.NewReader(msg))
		if reply != nil {
			t.Fatal(reply)
		}
		sum := sha256.New()
		_, err := io.Copy(sum, base64.NewDecoder(base64.StdEncoding, body.Reader()))
		runtime.ReadMemStats(&after)
		if want := sha256.Sum256([]byte("Bcc: blind@example.org\r\n" + msg)); err != nil || !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Fatalf("another message left: %v", err)
		}
		least = min(least, float64(after.TotalAlloc-before.TotalAlloc)/float64(len(msg)))
	}
	t.Logf("%.2f octets for each of the message", least)
	if least > 1.15 {
		t.Errorf("a message took %.2f octets of memory for each of its own", least)
	}
}
