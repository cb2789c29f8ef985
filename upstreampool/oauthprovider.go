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

package upstreampool

import "github.com/caddymail/mailgateway/relay"

// Provider returns the name of the OAuth provider that an upstream's tokens
// come from; empty if there is no such upstream, or if it uses none.
func (a *App) Provider(upstream string) string {
	if t, ok := a.transports[upstream].(relay.OAuthUser); ok {
		return t.OAuthProvider()
	}
	return ""
}

// OAuthProvider implements relay.OAuthUser.
func (t *SMTPTransport) OAuthProvider() string {
	if t.bound == nil {
		return ""
	}
	return t.bound.provider
}
