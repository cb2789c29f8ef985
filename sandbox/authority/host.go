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
	"crypto"
	"time"
)

// Host is what the server needs of the sandbox.
type Host interface {
	// Settings are those of the configuration in force.
	Settings() Settings
	// URL is the base of the endpoints, and the issuer.
	URL() string
	// Posted counts a request to the token endpoint.
	Posted(mailbox, grantType string)
	// Sleep waits, and reports whether the sandbox lives on.
	Sleep(d time.Duration) bool
	// Done is closed when the sandbox ends.
	Done() <-chan struct{}
}

// Settings are what the configuration says of tokens.
type Settings struct {
	// Microsoft has answers look like Entra's.
	Microsoft bool
	// TokenLifetime is how long access tokens live.
	TokenLifetime time.Duration
	// TokenDelay is how long the token endpoint takes.
	TokenDelay time.Duration
	// TokenSize pads access tokens to that many octets.
	TokenSize int
	// RotateRefreshTokens gives a new refresh token at each use. With RotationGrace
	// a used one is answered once more, as long as its successor is unused.
	RotateRefreshTokens, RotationGrace bool
	// Clients are identifiers and secrets.
	Clients map[string]string
	// Keys check assertions, by issuer.
	Keys map[string]crypto.PublicKey
}
