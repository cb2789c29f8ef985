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
	"context"
	"errors"
	"net/http"
	"net/url"
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

// clockTimeout bounds the request for the time.
const clockTimeout = 10 * time.Second

// Date asks the token endpoint's host for the time. The request carries nothing
// but its path, and what is answered does not matter. The error names no
// address: it may hold a tenant.
func (p *Provider) Date(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	ep, perr := p.endpoints(ctx)
	if perr != nil {
		return time.Time{}, perr
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, ep.token, http.NoBody)
	if err != nil {
		return time.Time{}, errors.New("the token endpoint's address is malformed")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		return time.Time{}, err
	}
	_ = resp.Body.Close()
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, errors.New("the answer has no Date")
	}
	return at, nil
}
