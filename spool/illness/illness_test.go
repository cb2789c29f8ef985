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

package illness

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/checkup"
)

// TestFindings holds that each thing that is wrong is a finding of its own, whatever else
// is, with a cause, a remedy and the same key while it lasts.
func TestFindings(t *testing.T) {
	now := time.Now()
	all := Facts{
		Name: "office", Directory: "/spool", Failed: "syncing: input/output error", Full: "`max_messages` 3 is reached", Held: map[string]int{HeldPoison: 1, HeldDamaged: 2, HeldByOperator: 0},
		Unread: []string{"ab/1.msg"}, Foreign: []string{"1", "2", "3", "4", "5", "6", "7"}, Oldest: Waiting{ID: "1", Account: "a", Reply: "451 no", Age: time.Hour}, WarnAge: time.Hour,
		GaveUp: map[string]GivenUpMail{"a": {Last: now}, "b": {Last: now, Reports: true}}, Untold: map[string]UntoldMail{"a": {At: now, Why: "why"}}, Unsaid: 1, Draining: now.Add(-time.Hour),
	}
	seen := make(map[string]bool)
	check := func(f *Facts, want ...string) {
		t.Helper()
		var got []string
		for _, x := range f.Findings(now) {
			if x.Subject != "office" || !x.Trouble() || x.Cause == "" || x.Remedy == "" || x.Said == "" {
				t.Errorf("%+v", x)
			}
			seen[x.Check] = true
			got = append(got, x.Check+" "+x.Account)
		}
		if !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	check(&all, "spool_disk ", "spool_full ", "spool_held ", "spool_unread ", "spool_foreign ", "spool_old ", "spool_untold ", "spool_untold a", "spool_drained ", "given_up a", "given_up b")
	check(&Facts{Name: "office", Gone: "moved"}, "spool_directory ")
	check(&Facts{Name: "office", Unready: "x", Locked: true}, "spool ")
	check(&Facts{Name: "office", Unready: "x", Reading: true}, "spool ")
	check(&Facts{Name: "office", Unready: "forbidden"}, "spool ")
	for _, name := range Checks {
		if !seen[name] {
			t.Errorf("%s has a metric and no finding", name)
		}
	}
	if got := all.Findings(now); !strings.HasSuffix(got[2].Cause, "2 damaged files, 1 the process died of them.") || !strings.HasSuffix(got[4].Said, "4, 5 and 2 more") {
		t.Errorf("%q, %q", got[2].Cause, got[4].Said)
	}
	well := &Facts{Name: "office", Messages: 3, Held: map[string]int{HeldPoison: 0}, Oldest: Waiting{Age: time.Minute}, WarnAge: time.Hour, Draining: now}
	if got := well.Findings(now); len(got) != 1 || got[0].State != checkup.OK || got[0].Trouble() {
		t.Errorf("well: %+v", got)
	}
	if f := Left("/spool/old", 3); !f.Trouble() || f.Subject != "/spool/old" || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
}
