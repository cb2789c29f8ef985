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
	"fmt"
	"time"

	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

// warnConsent is how long before its end a consent is warned of.
const warnConsent = 3 * 24 * time.Hour

// accountWarnings returns what will end an account's consent.
func (m *manager) accountWarnings(p *served, r *tokenstore.Record, now time.Time) []string {
	if r == nil || r.RefreshToken == "" {
		return nil
	}
	var w []string
	if !r.RefreshExpires.IsZero() && r.RefreshExpires.Sub(now) < warnConsent {
		w = append(w, fmt.Sprintf("the consent expires at %s; a Google app in testing gets consents for 7 days only", r.RefreshExpires.UTC().Format(time.RFC3339)))
	}
	if d := p.IdleDays(); d > 0 && !r.LastRefresh.IsZero() {
		end := r.LastRefresh.AddDate(0, 0, d)
		if end.Sub(now) < authserver.WarnSecret/2 {
			w = append(w, fmt.Sprintf("the refresh token was last used at %s and lapses after %d days", r.LastRefresh.UTC().Format(time.RFC3339), d))
		}
	}
	return w
}

// warning returns a warning that is worth a log line now, at most one a day.
func (m *manager) warning(p *served, e *entry, now time.Time) string {
	if now.Sub(e.warned) < 24*time.Hour {
		return ""
	}
	w := m.accountWarnings(p, e.rec, now)
	if len(w) == 0 {
		return ""
	}
	e.warned = now
	return w[0]
}
