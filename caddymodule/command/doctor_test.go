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

package command_test

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/caddymodule/gatewaytest"
	"github.com/caddymail/mailgateway/operate"
)

// TestDoctor: a gateway that is well, and one whose upstream and client secret
// are not.
func TestDoctor(t *testing.T) {
	g := gatewaytest.New(t)
	states := func(out string) map[string]string {
		t.Helper()
		var report operate.DoctorReport
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		found := make(map[string]string)
		for _, f := range report.Findings {
			found[f.Check+" "+f.Subject] = string(f.State)
			if f.State != "ok" && (f.Cause == "" || f.Remedy == "") {
				t.Errorf("no cause or remedy: %+v", f)
			}
		}
		return found
	}
	out := g.MustRun(t, "", "doctor", "--json")
	// Other tests of the process have used what else there is.
	if state := states(out)["upstream gmail"]; state != "unknown" {
		t.Errorf("an upstream that nothing has used is %q", state)
	}
	g.AddAccount(t, "asks@example.com")
	g.MustRun(t, "", "test", "asks@example.com")
	out = g.MustRun(t, "", "doctor", "--json")
	well := states(out)
	for _, want := range []string{"listener local " + g.SMTP, "clock sandbox", "egress sandbox", "upstream sandbox", "accounts "} {
		if well[want] != "ok" {
			t.Errorf("%s is %q, want ok; all: %v", want, well[want], well)
		}
	}
	stored := false
	for check, state := range well {
		stored = stored || strings.HasPrefix(check, "storage ") && state == "ok"
	}
	if !stored {
		t.Errorf("no storage that is ok in %v", well)
	}

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	address := closed.Addr().String()
	_ = closed.Close()
	g.Load(t, `smtp_upstreams {
		upstream away {
			dial `+address+`
			tls off
			auth none
		}
	}
	oauth_tokens {
		provider old generic {
			token_url https://old.invalid/token
			client_id gateway
			client_secret old-client-secret
			secret_expires 2020-01-01
		}
	}`)
	out, _, err = g.Run(t, "", "doctor", "--json")
	if err == nil {
		t.Error("no failure, though the upstream is away")
	}
	ill := states(out)
	for what, want := range map[string]string{
		"egress away": "wrong", "secret old client_secret": "wrong", "clock old": "unknown", "egress sandbox": "ok",
	} {
		if ill[what] != want {
			t.Errorf("%s is %q, want %s; all: %v", what, ill[what], want, ill)
		}
	}
	text, _, err := g.Run(t, "", "doctor")
	if err == nil || !strings.Contains(text, "What to do:") || strings.Contains(text, "old-client-secret") {
		t.Errorf("%v\n%s", err, text)
	}
	if first, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(first, "WRONG") {
		t.Errorf("what is wrong does not come first:\n%s", text)
	}
}
