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
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// TestExplainTokenStep holds that what fails on the way to a token is not
// blamed on the mail server's address.
func TestExplainTokenStep(t *testing.T) {
	for _, s := range []struct{ text, id string }{
		{"provider 'p': dial tcp 127.0.0.1:1: connect: connection refused", "refused"},
		{"provider 'p': dial tcp: lookup id.example.com on 127.0.0.1:53: no such host", "dns_no_host"},
		{"provider 'p': dial tcp 192.0.2.1:443: i/o timeout", "timeout"},
		{"provider 'p': no JSON in the token endpoint's answer but text/html (HTTP 404)", "token_endpoint"},
	} {
		e := explainStep(explain.About{}, upstreamapp.VerifyStep{Name: "token", Error: s.text})
		if e == nil || e.ID != s.id || !strings.Contains(e.Remedy, "`token_url`") || strings.Contains(e.Remedy, "`dial`") {
			t.Errorf("%q is explained as %+v", s.text, e)
		}
	}
	if e := explainStep(explain.About{}, upstreamapp.VerifyStep{Name: "tcp", Error: "dial tcp 127.0.0.1:1: connect: connection refused"}); e == nil || !strings.Contains(e.Remedy, "`dial`") {
		t.Errorf("the mail server is not blamed: %+v", e)
	}
}

func TestDescribeJWT(t *testing.T) {
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	token := encode(`{"alg":"none"}`) + "." + encode(`{"aud":"https://outlook.office.com","scp":"SMTP.Send","tid":"t-1","upn":"a@example.com","appid":"app","secret":"planted"}`) + ".sig"
	if got, want := describeJWT(token), "audience https://outlook.office.com, scopes SMTP.Send, tenant t-1, user a@example.com, application app"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, opaque := range []string{"", "ya29.abc", "a.b.c", encode("{}") + "." + encode("[]") + ".x", encode("{}") + "." + encode("{}") + ".x"} {
		if got := describeJWT(opaque); got != "" {
			t.Errorf("%q is described as %q", opaque, got)
		}
	}
}
