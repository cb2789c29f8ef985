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
	"maps"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// Servers returns the providers that tokens are asked of, by name.
func (a *App) Servers() map[string]*authserver.Provider {
	out := maps.Clone(a.Providers)
	maps.DeleteFunc(out, func(_ string, p *authserver.Provider) bool { return p.Grant == authserver.GrantExternal })
	return out
}
