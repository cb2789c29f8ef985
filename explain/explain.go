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

package explain

import (
	"strings"

	"github.com/caddymail/mailgateway/internal/invoked"
)

// Explanation says what a failure means. The log, the admin API's verify and
// `caddy smtp test` all say it in these words.
type Explanation struct {
	// ID names the explanation; it is stable.
	ID string `json:"id"`
	// Cause says in a sentence what is wrong.
	Cause string `json:"cause"`
	// Remedy says what to do about it, and who can.
	Remedy string `json:"remedy"`
	// RetryHelps reports whether the same message may go through later with
	// nothing changed.
	RetryHelps bool `json:"retry_helps"`

	// Consent reports whether only the mailbox's owner can help, by consenting
	// again.
	Consent bool `json:"-"`
	// General reports whether only the kind of the failure is known.
	General bool `json:"-"`
}

// About is what a failure is about, as far as it is known. Its zero value
// explains too, with ACCOUNT and MAILBOX standing for the names.
type About struct {
	// Account is the account's name, Mailbox its mailbox at the provider.
	Account, Mailbox string
	// Host is the provider's server.
	Host string
	// AppOnly says that the app asks in its own name, so that there is no owner
	// who could log in.
	AppOnly bool
	// Unnamed keeps the names out of the explanation.
	Unnamed bool
}

// Of finds the explanation of what went wrong on any leg of the way.
func Of(text string) (Explanation, bool) { return About{}.Of(text) }

// Of finds the explanation of what went wrong on any leg of the way.
func (a About) Of(text string) (Explanation, bool) {
	r := find(text)
	if r == nil {
		g, ok := general(text)
		return a.adapt(g), ok
	}
	e := r.Explanation
	if r.personal != nil && a.personal() {
		e.Cause, e.Remedy = r.personal.cause, r.personal.remedy
	}
	return a.adapt(e), true
}

// Token explains a failure on the way to a token, whose network is that of the
// provider's OAuth endpoints: `dial` is not to blame.
func (a About) Token(text string) (Explanation, bool) {
	if noTokenEndpoint.MatchString(text) {
		return tokenEndpoint, true
	}
	e, ok := a.Of(text)
	switch e.ID {
	case "refused", "timeout", "dns_no_host":
		e.Remedy = "Check `token_url` or `issuer` of the provider, and whether this machine gets there: a firewall, or `network_proxy`."
	}
	return e, ok
}

// OAuth says what an answer of a token endpoint means: code is the OAuth error
// code, text the server's description with its own code.
func OAuth(code, text string) Explanation { return About{}.OAuth(code, text) }

// OAuth says what an answer of a token endpoint means.
func (a About) OAuth(code, text string) Explanation {
	if e, ok := a.Of(code + ": " + text); ok {
		return e
	}
	return Explanation{
		ID: "refresh_failed", Cause: "The refresh failed.", Remedy: "None: it is tried again.",
		RetryHelps: true, General: true,
	}
}

// adapt puts the names in, and sends the owner of a personal mailbox to no
// administrator.
func (a About) adapt(e Explanation) Explanation {
	if a.personal() && forAdministrators(e.Remedy) {
		e.Remedy = "A personal mailbox has no administrator who could change this: its owner signs in at " + a.signIn() +
			" and looks for a warning or a question there; then: caddy smtp login ACCOUNT."
	}
	if a.AppOnly {
		e.Consent = false
	}
	if a.AppOnly && strings.Contains(e.Remedy, "caddy smtp login") {
		e.Remedy = "An administrator allows the app for this mailbox at the provider. The app asks in its own name: there is no login of an owner."
	}
	if a.Account != "" && !a.Unnamed {
		e.Remedy = strings.ReplaceAll(e.Remedy, "ACCOUNT", a.Account)
	}
	if a.Mailbox != "" && !a.Unnamed {
		e.Remedy = strings.ReplaceAll(e.Remedy, "MAILBOX", a.Mailbox)
	}
	e.Cause, e.Remedy = invoked.Words(e.Cause), invoked.Words(e.Remedy)
	return e
}

// forAdministrators reports whether a remedy is one of an organization's.
func forAdministrators(remedy string) bool {
	for _, w := range []string{"dministrator", "Set-", "Add-", "New-", "Entra", "Exchange", "tenant", "Workspace"} {
		if strings.Contains(remedy, w) {
			return true
		}
	}
	return false
}

// personalDomains are those of mailboxes without an organization. A name that
// ends with a point has many countries.
var personalDomains = []string{
	"outlook.", "hotmail.", "live.", "msn.com", "passport.com", "windowslive.com", "gmail.com", "googlemail.com",
}

// personal reports whether the mailbox is one that belongs to no organization.
func (a About) personal() bool {
	if strings.EqualFold(a.Host, "smtp-mail.outlook.com") {
		return true
	}
	_, domain, ok := strings.Cut(strings.ToLower(a.Mailbox), "@")
	if !ok {
		return false
	}
	for _, p := range personalDomains {
		if domain == p || strings.HasSuffix(p, ".") && strings.HasPrefix(domain, p) && strings.Count(domain, ".") <= 2 {
			return true
		}
	}
	return false
}

func (a About) signIn() string {
	if strings.HasSuffix(strings.ToLower(a.Mailbox), "@gmail.com") || strings.HasSuffix(strings.ToLower(a.Mailbox), "@googlemail.com") {
		return "https://myaccount.google.com"
	}
	return "https://account.microsoft.com"
}
