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

package record

import (
	"encoding"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Reading is what a spool's own clock showed, which goes while the spool runs, and is
// set by nobody. Clocks of different epochs say nothing of each other.
type Reading struct {
	Epoch string
	Ran   time.Duration
}

// MarshalText implements encoding.TextMarshaler.
func (r Reading) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s %d", r.Epoch, r.Ran.Milliseconds()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. What it does not understand is no
// reading: the message is the same without.
func (r *Reading) UnmarshalText(b []byte) error {
	*r, _ = ParseReading(string(b))
	return nil
}

var errReading = errors.New("no reading of a spool's clock")

// ParseReading reads what MarshalText writes.
func ParseReading(text string) (Reading, error) {
	epoch, ran, ok := strings.Cut(text, " ")
	ms, err := strconv.ParseInt(ran, 10, 64)
	if !ok || err != nil || epoch == "" || ms < 0 || ms > int64(maxRan/time.Millisecond) {
		return Reading{}, errReading
	}
	return Reading{epoch, time.Duration(ms) * time.Millisecond}, nil
}

// maxRan is longer than any spool has run.
const maxRan = 100 * 365 * 24 * time.Hour

// Age is how old a message was when the last record of it was written that says so, and
// what the clock showed then. It is not known of what versions wrote that kept no clock.
func Age(env *Envelope, lines []Line) (age time.Duration, at Reading, known bool) {
	for i := len(lines) - 1; i >= 0; i-- {
		if l := &lines[i]; l.Clock != (Reading{}) {
			return time.Duration(min(max(l.Age, 0), int64(maxRan/time.Millisecond))) * time.Millisecond, l.Clock, true
		}
	}
	return 0, env.Clock, env.Clock != (Reading{})
}

// Interface guards
var (
	_ encoding.TextMarshaler   = Reading{}
	_ encoding.TextUnmarshaler = (*Reading)(nil)
)
