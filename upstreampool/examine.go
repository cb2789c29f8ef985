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

import (
	"context"

	"github.com/caddymail/mailgateway/internal/checkup"
)

// Examine asks each transport that has something to say of itself.
func (a *App) Examine(ctx context.Context) (out []checkup.Finding) {
	for _, name := range a.Names() {
		if e, ok := a.transports[name].(checkup.Examiner); ok {
			out = append(out, e.Examine(ctx)...)
		}
	}
	return out
}

// ViaProxy reports whether an upstream is reached through a proxy, so that a
// connection made without it says nothing.
func (a *App) ViaProxy(name string) bool {
	t, ok := a.transports[name].(*SMTPTransport)
	return ok && t.proxyRaw != nil
}
