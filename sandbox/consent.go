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
	"cmp"
	"slices"
	"strings"
)

// ConsentAnswer is what people answer at the authorization endpoint, other than
// agreeing to everything as whom they are taken for.
type ConsentAnswer struct {
	// Mailbox is who is signed in, whatever the login hint says.
	Mailbox string
	// Unticked are scopes whose boxes are not ticked, as on Google's page.
	Unticked []string
	// NoIDToken and NoRefreshToken leave these out of the token answer.
	NoIDToken, NoRefreshToken bool
	// Error and Description refuse (RFC 6749 section 4.1.2.1).
	Error, Description string
}

// AnswerConsents makes all that is answered from now on be this; the zero value
// is the default.
func (s *Sandbox) AnswerConsents(a ConsentAnswer) {
	s.oauth.mu.Lock()
	defer s.oauth.mu.Unlock()
	s.oauth.answer = a
}

func (o *oauth) consentAnswer() ConsentAnswer {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.answer
}

func (a ConsentAnswer) mailbox(hint string) string { return cmp.Or(a.Mailbox, hint) }

// scopes are those that are granted of those asked for.
func (a ConsentAnswer) scopes(asked string) string {
	if len(a.Unticked) == 0 {
		return asked
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(asked), func(s string) bool { return slices.Contains(a.Unticked, s) }), " ")
}
