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

package authority

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ConsentAnswer is what people answer at the authorization endpoint, other than
// agreeing to everything as whom they are taken for.
type ConsentAnswer struct {
	// Mailbox is who is signed in, whatever the login hint says.
	Mailbox string `json:"mailbox,omitempty"`
	// Unticked are scopes whose boxes are not ticked, as on Google's page.
	Unticked []string `json:"unticked,omitempty"`
	// NoIDToken and NoRefreshToken leave these out of the token answer.
	NoIDToken      bool `json:"no_id_token,omitempty"`
	NoRefreshToken bool `json:"no_refresh_token,omitempty"`
	// Error and Description refuse (RFC 6749 section 4.1.2.1).
	Error       string `json:"error,omitempty"`
	Description string `json:"description,omitempty"`
}

// As is who consents: whoever is signed in, else whom the client has hinted at.
func (a ConsentAnswer) As(hint string) string { return cmp.Or(a.Mailbox, hint) }

// Granted are the scopes that are granted of those asked for.
func (a ConsentAnswer) Granted(asked string) string {
	if len(a.Unticked) == 0 {
		return asked
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(asked), func(s string) bool { return slices.Contains(a.Unticked, s) }), " ")
}

// tenant is what the administrator's approval is for.
const tenant = "6f1f7a54-9a35-4f2e-8a1d-0c4c4d7c7f10"

// ServeAdmin is where a tenant's administrator approves, as at Entra: what comes back
// has `admin_consent=True` even with a refusal, if the answer is an Error.
// https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
func (a ConsentAnswer) ServeAdmin(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !redirect.IsAbs() {
		http.Error(w, "redirect_uri is wrong", http.StatusBadRequest)
		return
	}
	back := url.Values{"admin_consent": {"True"}, "tenant": {tenant}, "state": {q.Get("state")}, "scope": {q.Get("scope")}}
	if a.Error != "" {
		back.Set("error", a.Error)
		back.Set("error_description", a.Description)
	}
	redirect.RawQuery = back.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

// AnswerConsents makes all that is answered from now on be this; the zero value
// is the default.
func (s *Server) AnswerConsents(a ConsentAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people = a
}

func (s *Server) consentAnswer() ConsentAnswer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.people
}
