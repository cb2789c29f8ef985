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

package connect_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rules are those of a consent in the browser, each with the page or standard that has it
// and the tests that hold it.
var rules = []struct{ rule, source, tests string }{
	{"authorization code with PKCE S256, always; nothing else is asked for", "RFC 9700 2.1.1", "connect.TestConsent oauthtoken.TestAuthCodeLogin"},
	{"a code without its challenge, or with another's, is worth nothing", "RFC 9700 4.5, 4.8", "connect.TestCodeInjection"},
	{"state is bound to the browser, in a sealed cookie that no other host can set", "RFC 9700 4.7", "connect.TestFlowBelongsToOneBrowser internal/cookie.TestJar"},
	{"a state is good once; what asks again gets the first's outcome, and the code goes to the provider once", "RFC 6749 4.1.2", "connect.TestCallbackAgain"},
	{"the nonce is the flow's", "OpenID Connect Core 3.1.3.7", "connect.TestCodeInjection oauthtoken.TestIDTokenIsChecked"},
	{"one redirect URI for each provider, octet for octet, on the way there and at the exchange", "RFC 9700 4.1.3, 4.4.2.2", "connect.TestRedirectURI connect.TestMixUp oauthtoken.TestLoginOptions"},
	{"iss is the provider's where it is sent, and is there where it is announced", "RFC 9207 2.4", "connect.TestMixUp oauthtoken.TestPastedRedirect"},
	{"no code, state, token or link in a page, an address, a log or a Referer", "RFC 9700 4.2", "connect.TestCodeStaysSecret connect.TestTokenIsNotStored oauthtoken.TestNoSecretInLogsAndErrors"},
	{"not in a frame, not cached, no script", "RFC 9700 4.16", "connect.TestConsent"},
	{"https, or http to loopback; no other host", "RFC 8252 7.3", "internal/site.TestAddress internal/site.TestAdmit oauthtoken.TestLoginOptions connect.TestRequestsFromElsewhere"},
	{"Google: offline and prompt=consent; Entra: select_account and never consent; again: the picker", "entra-docs#652", "oauthtoken.TestLoginScopesAndHosts oauthtoken/authserver.TestAdminConsentURL connect.TestWrongAccountAgain"},
	{"login_hint is a hint: who is signed in is looked at, and nobody is sent back and forth", "OpenID Connect Core 3.1.2.1", "connect.TestWrongAccountAgain connect.TestOutcomes"},
	{"scopes are those of sending; none to read mail", "Manage app consent policies", "oauthtoken.TestLoginScopesAndHosts"},
	{"an organization that wants its administrator is told apart from a no", "AADSTS90094, 65001, 65004", "connect.TestErrorAnswers connect.TestOutcomes"},
	{"admin consent at the tenant or at organizations, never common", "v2 admin consent", "oauthtoken/authserver.TestAdminConsentURL"},
	{"admin_consent=True proves nothing, with an error or without", "v2 admin consent", "connect.TestErrorAnswers connect.TestRequestsFromElsewhere"},
	{"who consented comes from the back channel; no identity is a refusal", "OpenID Connect Core 3.1.3.7", "connect.TestOutcomes oauthtoken.TestPastedRedirect oauthtoken/authserver.TestIDTokenWithoutKeys"},
	{"mail or user principal name; then the pinned subject", "aerion#337", "oauthtoken/authserver.TestEntraIdentity connect.TestOwnerIsPinned oauthtoken.TestOwnerIsPinned"},
	{"Entra's email decides nothing where many tenants may sign in", "nOAuth", "oauthtoken/authserver.TestEntraIdentity"},
	{"a guest's addresses are another tenant's word, and decide nothing", "B2B user tokens", "oauthtoken/authserver.TestEntraIdentity oauthtoken/authserver.TestGuestIsNoOperator"},
	{"a token of another tenant is refused", "ID token claims", "oauthtoken/authserver.TestEntraIdentity"},
	{"a shared mailbox: the invitation names the delegate", "EE PR#626", "connect.TestOwnerIsPinned"},
	{"what was not ticked is named, and asked for again", "Google granular consent", "connect.TestOutcomes oauthtoken/authserver.TestMissingScopes"},
	{"no refresh token is a failure now", "Google offline access", "connect.TestOutcomes oauthtoken.TestPastedRedirect"},
	{"a link holds 32 random octets and is stored hashed", "5.9", "connect.TestTokenIsNotStored connect.FuzzID"},
	{"GET changes nothing; the button starts", "scanners of mail", "connect.TestConsent"},
	{"a link is used up by a stored consent, once, by nothing else", "5.9", "connect.TestUsedOnce connect.TestOutcomes connect.TestErrorAnswers"},
	{"an expired, withdrawn or void link is told as such", "5.11", "connect.TestInvitationEnds"},
	{"the public routes are bounded in rate and memory", "5.10", "connect.TestBounds connect.TestOfficeBehindOneAddress connect.TestHour"},
	{"a reload, or another node, between leaving and coming back", "5.10", "connect.TestReload connect.TestCallbackAgain"},
}

// TestRules holds that each rule has its tests.
func TestRules(t *testing.T) {
	all := make(map[string]string)
	for _, r := range rules {
		if r.rule == "" || r.source == "" || r.tests == "" {
			t.Errorf("%+v", r)
		}
		for _, name := range strings.Fields(r.tests) {
			i := strings.LastIndexByte(name, '.')
			dir, test := name[:i], name[i+1:]
			if _, ok := all[dir]; !ok {
				files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(dir), "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					text, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					all[dir] += string(text)
				}
			}
			if !strings.Contains(all[dir], "\nfunc "+test+"(") {
				t.Errorf("%q is held by %s, which is not there", r.rule, name)
			}
		}
	}
}
