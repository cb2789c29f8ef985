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

package sandbox

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestOneResource holds that Entra's one token is for one resource: a request that names
// two is refused, one consent serves each of them in turn, and the scopes of an answer
// have the resource of its token in front.
func TestOneResource(t *testing.T) {
	const smtp, graph = "https://outlook.office.com/SMTP.Send", "https://graph.microsoft.com/Mail.Send"
	s := start(t, &App{Profile: "microsoft"})
	form := refreshForm("rt-a@example.com")
	form.Set("scope", smtp+" offline_access "+graph)
	out := wantError(t, s, form, 400, "invalid_resource")
	if !strings.HasPrefix(out["error_description"].(string), "AADSTS28000: ") {
		t.Errorf("%v", out)
	}
	for _, scope := range []string{smtp, graph, "Mail.Send User.Read", graph + " https://graph.microsoft.com/User.Read openid"} {
		form.Set("scope", scope)
		if status, out := post(t, s, form); status != http.StatusOK {
			t.Errorf("%s: %d %v", scope, status, out)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for scope, want := range map[string]string{
		"":    "https://outlook.office.com/SMTP.Send https://outlook.office.com/Mail.Send offline_access",
		smtp:  "https://outlook.office.com/SMTP.Send https://outlook.office.com/Mail.Send offline_access",
		graph: "https://graph.microsoft.com/SMTP.Send https://graph.microsoft.com/Mail.Send offline_access",
	} {
		q := url.Values{
			"response_type": {"code"}, "client_id": {"sandbox"}, "redirect_uri": {"http://127.0.0.1/back"}, "login_hint": {"a@example.com"},
			"scope": {smtp + " " + graph + " offline_access"},
		}
		resp, err := client.Get(s.HTTPURL() + "/authorize?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		back, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		status, out := post(t, s, url.Values{
			"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {"http://127.0.0.1/back"}, "scope": {scope},
		})
		if status != http.StatusOK || out["scope"] != want {
			t.Errorf("%q: %d, scope %q, want %q", scope, status, out["scope"], want)
		}
	}
	// Others know no such rule.
	s = start(t, new(App))
	form.Set("scope", smtp+" "+graph)
	if status, out := post(t, s, form); status != http.StatusOK {
		t.Errorf("another server: %d %v", status, out)
	}
}
