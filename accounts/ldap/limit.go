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

package ldap

import (
	"errors"
	"sync"
	"time"
)

// What wrong passwords a directory is asked for: so many at once, then one in a time.
// Right ones are given back, and those that were right the last time are not counted.
var (
	nameRate = rate{10, 6 * time.Second}
	// One client has half of a name's: whoever guesses does not keep out its owner.
	peerRate   = rate{5, 12 * time.Second}
	clientRate = rate{50, 100 * time.Millisecond}
	totalRate  = rate{200, 10 * time.Millisecond}
)

var errTooMany = errors.New("more wrong passwords than a directory is asked for: 10 a minute of one name, 10 a second of one client, 100 a second of all")

// rate is a number at once, and one more each time that passes.
type rate struct {
	burst int
	every time.Duration
}

// gauge is when all that was taken is made up for.
type gauge map[string]time.Time

func (g gauge) room(key string, r rate, now time.Time) bool {
	return g[key].Sub(now) <= time.Duration(r.burst-1)*r.every
}

func (g gauge) take(key string, r rate, now time.Time) {
	at := g[key]
	if at.Before(now) {
		at = now
	}
	g[key] = at.Add(r.every)
}

func (g gauge) giveBack(key string, r rate, now time.Time) {
	if at := g[key].Add(-r.every); at.After(now) {
		g[key] = at
	} else {
		delete(g, key)
	}
}

func (g gauge) tidy(now time.Time) {
	for key, at := range g {
		if !at.After(now) {
			delete(g, key)
		}
	}
}

// limits bounds the passwords that are tried. What it holds of names and clients is
// bounded by the total.
type limits struct {
	spare int // that may be on their way, beside what is wrong

	mu                           sync.Mutex
	names, peers, clients, total gauge
	tidied                       time.Time
}

func newLimits(spare int) *limits {
	return &limits{spare: spare, names: gauge{}, peers: gauge{}, clients: gauge{}, total: gauge{}}
}

// take lets one password be tried, of a name by a client, or not. What it returns gives
// that back: the password was not wrong.
func (l *limits) take(name, client string, now time.Time) (giveBack func(time.Time), ok bool) {
	of, all := clientRate, totalRate
	of.burst, all.burst = of.burst+l.spare, all.burst+l.spare
	parts := []struct {
		gauge
		key string
		rate
	}{{l.total, "", all}, {l.names, name, nameRate}}
	if client != "" {
		parts = append(parts, []struct {
			gauge
			key string
			rate
		}{{l.peers, name + " " + client, peerRate}, {l.clients, client, of}}...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.tidied) > time.Minute {
		l.tidied = now
		for _, g := range []gauge{l.names, l.peers, l.clients} {
			g.tidy(now)
		}
	}
	for _, p := range parts {
		if !p.room(p.key, p.rate, now) {
			return nil, false
		}
	}
	for _, p := range parts {
		p.take(p.key, p.rate, now)
	}
	return func(now time.Time) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range parts {
			p.giveBack(p.key, p.rate, now)
		}
	}, true
}
