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

// Package rate has a number of events in a period, as limits of accounts are said.
package rate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Rate is a number of events in a period. Its text form, in JSON and in the
// Caddyfile, is COUNT/PERIOD as in `30/1m`, `10000/24h` or `2000/1d`.
type Rate struct {
	Count int64
	Per   time.Duration
}

// Parse parses the text form. Both numbers must be positive.
func Parse(s string) (Rate, error) {
	count, per, ok := strings.Cut(s, "/")
	if !ok {
		return Rate{}, fmt.Errorf("malformed rate %q: want COUNT/PERIOD, as in 30/1m", s)
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n <= 0 {
		return Rate{}, fmt.Errorf("malformed rate %q: the count must be a positive whole number, as in 30/1m", s)
	}
	d, err := caddy.ParseDuration(per)
	if err != nil || d <= 0 {
		return Rate{}, fmt.Errorf("malformed rate %q: the period must be a positive duration, as in 1m or 24h", s)
	}
	return Rate{Count: n, Per: d}, nil
}

// IsZero reports whether no rate is set.
func (r Rate) IsZero() bool { return r.Count == 0 }

// String returns the text form, or "" for no rate.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	per := r.Per.String()
	// 24h0m0s says nothing that 24h does not.
	if strings.HasSuffix(per, "m0s") {
		per = strings.TrimSuffix(per, "0s")
	}
	if strings.HasSuffix(per, "h0m") {
		per = strings.TrimSuffix(per, "0m")
	}
	return strconv.FormatInt(r.Count, 10) + "/" + per
}

// MarshalText implements encoding.TextMarshaler.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Empty text is no rate.
func (r *Rate) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Rate{}
		return nil
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
