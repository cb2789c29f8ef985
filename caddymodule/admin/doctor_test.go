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

package admin

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/internal/checkup"
)

// TestAdminPortIsShared has the port answered by this process, by it and another
// gateway in turn, and by it and another program.
func TestAdminPortIsShared(t *testing.T) {
	for name, tc := range map[string]struct {
		other string
		state checkup.State
		said  string
	}{
		"alone":           {process, checkup.OK, "alone"},
		"another gateway": {"ANOTHER", checkup.Wrong, "another process"},
		"another program": {"", checkup.Wrong, "no Mailgateway"},
	} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead || r.URL.Path != "/smtp/doctor" || r.Host != "localhost:2019" {
				t.Errorf("asked %s %s%s", r.Method, r.Host, r.URL.Path)
			}
			who := process
			if asked++; asked == adminAsked {
				who = tc.other
			}
			if who != "" {
				w.Header().Set(processHeader, who)
			}
		}))
		got := checkAdmin(t.Context(), srv.Listener.Addr(), "localhost:2019")
		srv.Close()
		if len(got) != 1 || got[0].Check != "admin" || got[0].State != tc.state || !strings.Contains(got[0].Said, tc.said) || got[0].Trouble() != (got[0].Remedy != "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := checkAdmin(t.Context(), &net.UnixAddr{Net: "unix", Name: "/run/admin"}, ""); got != nil {
		t.Errorf("socket of the file system: %+v", got)
	}
	rec := httptest.NewRecorder()
	if err := runDoctor(rec, httptest.NewRequest(http.MethodHead, "/smtp/doctor", nil)); err != nil || rec.Header().Get(processHeader) != process || rec.Body.Len() > 0 {
		t.Errorf("HEAD: %v, %v, %s", err, rec.Header(), rec.Body)
	}
}
