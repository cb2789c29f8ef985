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
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/sandbox"
	"github.com/caddymail/mailgateway/setup"
)

// TestSecondOfAKind sets up a second tenant beside one that was put in by hand: each has
// names, a secret and a redirect URI of its own, and the first is left alone.
func TestSecondOfAKind(t *testing.T) {
	f := newFresh(t, "setup FILE", "")
	if err := os.WriteFile(filepath.Join(f.Dir, "mine"), []byte("abc8Q~the-secret-of-the-first-tenant"), 0o600); err != nil {
		t.Fatal(err)
	}
	byHand := strings.NewReplacer("DIR", f.Dir, "URL", f.sb.HTTPURL(), "SMTP", f.sb.SMTPAddr()).Replace(`	persist_config off
	oauth_tokens {
		provider microsoft {
			tenant first.example
			client_id 99999999-3333-4444-5555-666666666666
			client_secret {file.DIR/mine}
			token_url URL/first.example/oauth2/v2.0/token
			auth_url URL/first.example/oauth2/v2.0/authorize
		}
	}
	smtp_upstreams {
		upstream microsoft365 {
			dial SMTP
			auth xoauth2 microsoft
		}
	}
`)
	f.write(t, strings.Replace(f.text(t), "\tpersist_config off\n", byHand, 1))
	f.load(t)
	f.get(t, "/console/setup", "Step 1 of 7")
	f.step(t, "choice", url.Values{"choice": {"microsoft user"}}).want(t, "Step 2 of 7", f.base+"/connect/callback/microsoft-2")
	f.step(t, "answers", f.answers()).want(t, "Step 3 of 7")
	f.step(t, "check", nil).want(t, "Step 4 of 7", "provider microsoft-2 microsoft {", "upstream microsoft365-2 {", "auth xoauth2 microsoft-2")
	f.step(t, "write", nil).want(t, "Step 5 of 7")
	now := f.text(t)
	if !strings.Contains(now, byHand) || strings.Count(now, "provider microsoft") != 2 || !strings.Contains(now, "microsoft-2_secret") {
		t.Errorf("the file is\n%s", now)
	}
	f.step(t, "account", nil).want(t, f.mailbox)
	link := f.step(t, "consent", nil)
	m := regexp.MustCompile(`<code class="copy">([^<]+)</code>`).FindStringSubmatch(link.body)
	if m == nil {
		t.Fatalf("no link:\n%s", link.body)
	}
	// The owner goes to the second tenant's, and comes back to its redirect URI.
	f.sb.AnswerConsents(sandbox.ConsentAnswer{})
	left := f.do(t, http.MethodPost, strings.TrimPrefix(m[1], f.base), nil)
	next := regexp.MustCompile(`<a class="button" href="([^"]+)"`).FindStringSubmatch(left.body)
	if next == nil || !strings.Contains(next[1], "/contoso.example/") || !strings.Contains(next[1], "callback%2Fmicrosoft-2") || !strings.Contains(next[1], clientID) {
		t.Errorf("the owner is sent to %v", next)
	}
	f.get(t, "/console/accounts/"+f.mailbox, "microsoft365-2")

	// A third, and the second again by its application.
	f.step(t, "another", nil)
	f.step(t, "choice", url.Values{"choice": {"microsoft user"}}).want(t, f.base+"/connect/callback/microsoft-3")
	f.step(t, "answers", f.answers("mailbox", "second-"+f.mailbox)).want(t, "Step 5 of 7")
	a, _, err := setup.Load(f.Dir)
	if err != nil || a.Number != 2 {
		t.Errorf("the answers are of number %d, %v", a.Number, err)
	}
}
