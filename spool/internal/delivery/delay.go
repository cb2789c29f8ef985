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

package delivery

import (
	"math/rand/v2"
	"time"
)

// delays are those between attempts; the last goes on.
var delays = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour,
}

// Delay is how long to wait after so many attempts, with a spread of a
// tenth, and no less than the provider asked for.
func Delay(attempts int, asked time.Duration) time.Duration {
	d := delays[min(max(attempts-1, 0), len(delays)-1)]
	d += time.Duration((rand.Float64() - 0.5) / 5 * float64(d)) //nolint:gosec // not a secret
	return max(d, asked)
}
