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
	"fmt"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// TestKeeps holds that the page says what the defaults are, and what tests hold.
func TestKeeps(t *testing.T) {
	tr := new(Transport)
	if err := tr.fill(); err != nil {
		t.Fatal(err)
	}
	apitest.Keeps(t, "gmail", map[string]apitest.Kept{
		"envelope":                        {"none: the same", "TestRandomEnvelopes"},
		"replies for each recipient":      {"no: the same", "../internal/mailapi.TestRecipientsOfAMessage"},
		"250 means":                       {"Gmail answered 200 with a message id", "TestFaults"},
		"DSN (NOTIFY, RET, ENVID, ORCPT)": {"the same", "../internal/mailapi.TestDSN"},
		"largest message":                 {apitest.Commas(tr.MaxSize) + " octets", "TestStreams"},
		"memory of a message":             {"constant", "TestMemory"},
		"the message's octets":            {"text/plain is wrapped again near 72 columns", "TestRewrapped"},
		"Bcc fields":                      {"taken off before delivery", "TestRandomEnvelopes"},
		"From":                            {"replaced by the mailbox's", "TestForeignFrom"},
		"Sent Items":                      {"always a copy", "TestFaults"},
		"connections at a time":           {fmt.Sprintf("%d requests a mailbox", tr.MaxConnsPerAccount), "../internal/mailapi.TestFourAtATime"},
		"counts after a restart":          {"stored", "../internal/mailapi.TestRestart"},
		"recipients of a message":         {fmt.Sprintf("%d (`max_recipients`), and the same", maxRecipients), "../internal/mailapi.TestRecipientsOfAMessage"},
		"uploads":                         {"no limit", "../internal/mailapi.TestUpload"},
		"null sender":                     {map[bool]string{false: "the same", true: "yes"}[tr.NullSender], "TestRefusedBeforeTheBody"},
		"sending limits":                  {fmt.Sprintf("%d messages a minute", tr.RatePerAccount.Count), "TestUnits"},
	})
}

// TestForeignFrom: the sandbox puts the mailbox's address into a From that is none of
// its own, as Gmail does; the message is not refused.
func TestForeignFrom(t *testing.T) {
	tr, sb, _ := start(t, new(sandbox.App), Transport{})
	msg := strings.Replace(plain, apitest.Box, "other@example.net", 1)
	if _, err := apitest.Send(t, tr, []string{"a@example.org"}, msg); err != nil {
		t.Fatal(err)
	}
	got := sb.MessagesAfter(0, 10)
	if len(got) != 1 || !strings.Contains(string(got[0].Body), "From: "+apitest.Box) {
		t.Errorf("%+v", got)
	}
}
