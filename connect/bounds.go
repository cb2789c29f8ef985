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

package connect

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// An office of ten thousand may have one address. A consent is four requests, and
	// most owners come soon after the mail.
	clientRate, clientBurst = 50, 400 // a second, and at once
	// What nobody has shown a link for costs a look into the storage. Clients that have
	// asked for little lately have a share of their own: who floods from a few addresses
	// keeps no owner out.
	lightRate, lightBurst = 1000, 5000
	heavyRate, heavyBurst = 300, 600
	// littleLately is how many requests above its rate a client of the first kind has made.
	littleLately = 40
	// What belongs to an invitation leads to work at the provider. One invitation is not
	// all of them: who has a link has no more of it than an owner needs.
	invitationRate, invitationBurst = 5, 200
	invitedRate, invitedBurst       = 200, 1000
	// maxKept bounds the addresses and the invitations remembered; beyond it only the
	// rates of all hold.
	maxKept = 20_000
	// maxExchanges are the codes that are exchanged at a time.
	maxExchanges = 64
)

// bounds are those on requests from the public.
type bounds struct {
	mu                    sync.Mutex
	light, heavy, invited *rate.Limiter
	clients               buckets[netip.Prefix]
	invitations           buckets[string]
}

func newBounds(now time.Time) *bounds {
	return &bounds{
		light: rate.NewLimiter(lightRate, lightBurst), heavy: rate.NewLimiter(heavyRate, heavyBurst), invited: rate.NewLimiter(invitedRate, invitedBurst),
		clients:     newBuckets[netip.Prefix](clientRate, clientBurst, now),
		invitations: newBuckets[string](invitationRate, invitationBurst, now),
	}
}

// take reports whether a client may make a request now, whatever it asks for.
func (b *bounds) take(client string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	share := b.light
	if addr, err := netip.ParseAddr(client); err == nil {
		addr = addr.Unmap().WithZone("")
		bits := 32
		if addr.Is6() {
			bits = 64 // what one subscriber has
		}
		network, _ := addr.Prefix(bits)
		c := b.clients.of(network, now)
		if !c.AllowN(now, 1) {
			return false
		}
		if c.TokensAt(now) < clientBurst-littleLately {
			share = b.heavy
		}
	}
	return share.AllowN(now, 1)
}

// invite reports whether something may be done for an invitation that there is now.
func (b *bounds) invite(id string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.invitations.of(id, now).AllowN(now, 1) && b.invited.AllowN(now, 1)
}

// buckets are the rates of many, of whom those are forgotten who have not come for long.
type buckets[K comparable] struct {
	each  map[K]*rate.Limiter
	rate  rate.Limit
	burst int
	swept time.Time
}

func newBuckets[K comparable](limit rate.Limit, burst int, now time.Time) buckets[K] {
	return buckets[K]{each: make(map[K]*rate.Limiter), rate: limit, burst: burst, swept: now}
}

// of is one's bucket.
func (b *buckets[K]) of(key K, now time.Time) *rate.Limiter {
	c := b.each[key]
	if c == nil {
		b.sweep(now)
		c = rate.NewLimiter(b.rate, b.burst)
		if len(b.each) < maxKept {
			b.each[key] = c
		}
	}
	return c
}

// sweep forgets those whose bucket is full again, once in a while.
func (b *buckets[K]) sweep(now time.Time) {
	if now.Sub(b.swept) < time.Duration(float64(b.burst)/float64(b.rate)*float64(time.Second)) {
		return
	}
	b.swept = now
	for key, c := range b.each {
		if c.TokensAt(now) >= float64(b.burst) {
			delete(b.each, key)
		}
	}
}
