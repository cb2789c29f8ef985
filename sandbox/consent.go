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

import "github.com/caddymail/mailgateway/sandbox/webapi"

// ConsentAnswer is what people answer at the authorization endpoint.
type ConsentAnswer = webapi.ConsentAnswer

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
