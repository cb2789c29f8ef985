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
	"net/http"
	"sync/atomic"
	"time"
)

// Clock is the server's clock, as its Date headers show it: an assertion of a
// machine whose clock is off would be refused.
type Clock struct{ skew atomic.Int64 }

// minSkew is how far the clocks may be apart before it matters. The Date header
// is in whole seconds.
const minSkew = 30 * time.Second

// Off reports whether ours is off.
func (c *Clock) Off() bool { return c.skew.Load() != 0 }

// now is the time by the server's clock, as far as it is known.
func (c *Clock) now() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

func (c *Clock) note(h http.Header, sent, received time.Time) {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil || received.Sub(sent) > minSkew/2 {
		return
	}
	d := t.Sub(received)
	if d.Abs() < minSkew {
		d = 0
	}
	c.skew.Store(int64(d))
}
