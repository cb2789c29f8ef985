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
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/spool"
)

func TestExamineSpools(t *testing.T) {
	for name, tc := range map[string]struct {
		st     spool.Status
		state  checkup.State
		remedy string
	}{
		"well":        {spool.Status{Ready: true, Messages: 3}, checkup.OK, ""},
		"disk failed": {spool.Status{Ready: true, Error: "syncing: input/output error"}, checkup.Wrong, "restart"},
		"another's":   {spool.Status{Directory: "/spool"}, checkup.Wrong, "`directory`"},
		"full":        {spool.Status{Ready: true, Full: true, Directory: t.TempDir()}, checkup.Wrong, "smtp spool list"},
		"unread":      {spool.Status{Ready: true, Held: 2, LeftAlone: []spool.Oddity{{Path: "README"}, {Path: "ab/1.msg", Message: "1"}}}, checkup.Warning, "key"},
		"foreign":     {spool.Status{Ready: true, LeftAlone: []spool.Oddity{{Path: "README"}}}, checkup.OK, ""},
		"held":        {spool.Status{Ready: true, Held: 2}, checkup.Warning, "smtp spool release"},
	} {
		tc.st.Upstream = "office"
		got := examineSpools([]spool.Status{tc.st})
		if len(got) != 1 {
			t.Fatalf("%s: %+v", name, got)
		}
		f := got[0]
		if f.Check != "spool" || f.Subject != "office" || f.State != tc.state || !strings.Contains(f.Remedy, tc.remedy) || f.Trouble() != (f.Cause != "") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if got := examineForgotten([]spool.LeftBehind{{Directory: "/spool/old", Messages: 3}}); len(got) != 1 || got[0].State != checkup.Warning || got[0].Subject != "/spool/old" || !got[0].Trouble() {
		t.Errorf("forgotten: %+v", got)
	}
	got := examineSpools([]spool.Status{{Ready: true, GaveUp: map[string]time.Time{"b@b.example": time.Now(), "a@b.example": time.Now()}}})
	if len(got) != 3 || got[1].Account != "a@b.example" || got[2].Account != "b@b.example" || got[1].Check != "given_up" || !strings.Contains(got[1].Remedy, "smtp test a@b.example") {
		t.Errorf("given up: %+v", got)
	}
}
