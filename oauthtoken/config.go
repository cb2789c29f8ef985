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

package oauthtoken

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// App obtains, refreshes and keeps OAuth 2.0 access tokens for accounts.
type App struct {
	// RefreshAhead is how long before its expiry a token of an account in
	// use is refreshed. Default: 10m.
	RefreshAhead caddy.Duration `json:"refresh_ahead,omitempty"`

	// KeepAlive is how often the token of an account that is not in use is
	// refreshed all the same, so that its consent does not lapse.
	// Default: 7d; -1 turns it off.
	KeepAlive caddy.Duration `json:"keep_alive,omitempty"`

	// StoreRaw is where rotated tokens are kept. Default: `storage`,
	// Caddy's own storage, not sealed.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=oauth_tokens.stores inline_key=store"`

	// Providers are the authorization servers by name.
	Providers map[string]*authserver.Provider `json:"providers,omitempty"`

	appState
}
