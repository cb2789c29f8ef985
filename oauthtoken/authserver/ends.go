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

package authserver

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// WarnSecret is how long before the end of a secret a warning begins.
const WarnSecret = 30 * 24 * time.Hour

// LogWarnings tells what ends soon: at start, and once a day.
func (p *Provider) LogWarnings(now time.Time) {
	for _, w := range p.Warnings(now) {
		p.logger.Warn("provider warning", zap.String("warning", w))
	}
}

// Warnings returns what ends soon at the provider itself.
func (p *Provider) Warnings(now time.Time) []string {
	var w []string
	add := func(what string, end time.Time) {
		if end.IsZero() || end.Sub(now) > WarnSecret {
			return
		}
		if end.After(now) {
			w = append(w, fmt.Sprintf("%s expires at %s", what, end.UTC().Format(time.RFC3339)))
		} else {
			w = append(w, fmt.Sprintf("%s has expired at %s", what, end.UTC().Format(time.RFC3339)))
		}
	}
	what := "client_secret"
	if p.cert != nil {
		what = "client_certificate"
		add(what, p.cert.NotAfter)
	}
	add(what, p.secretEnd)
	return w
}
