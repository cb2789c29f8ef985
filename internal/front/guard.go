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

package front

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// GuardPolicy says when failed logins lead to a ban.
type GuardPolicy struct {
	// Max is the number of different wrong logins that lead to a ban of the
	// client, Window the period in which they count.
	Max    int
	Window time.Duration
	// Ban is how long a ban lasts.
	Ban time.Duration
	// Delay is how long the first refusal of an account is held back. It
	// doubles with each further wrong password of that account, to maxDelay.
	Delay time.Duration
	// Exempt are networks that are never banned.
	Exempt []netip.Prefix
}

const (
	// maxDelay bounds the delay of the answer to a failed login.
	maxDelay = 8 * time.Second
	// maxWaiting is the number of logins that may wait at a time, for their
	// turn or for their answer.
	maxWaiting = 10_000
	// maxTurn is how long a login waits for its turn.
	maxTurn = 20 * time.Second
	// parallelGuesses are the logins of one account that a client may have
	// under way at a time, less the wrong ones that it has tried already.
	parallelGuesses = 8
	// goodFor is how long a good login speaks for its client and its account.
	goodFor = 7 * 24 * time.Hour
	// spare is how many times Max wrong logins an address with good ones may
	// have, before only the accounts that are known there are let in.
	spare = 4
)

// classes are what a wrong login counts for: the client, the site and the
// neighbourhood, each with as many times the client's number of wrong logins.
// (mox counts the same networks.) Who has an IPv6 /48 has 65,536 clients.
var classes = [...]struct{ v4, v6, factor int }{{32, 64, 1}, {26, 48, 2}, {21, 32, 10}}

var (
	// ErrBanned says that a login is refused unseen.
	ErrBanned = errors.New("address is banned")
	// ErrBusy says that a login did not come to its turn.
	ErrBusy = errors.New("too many logins under way")
)

// Ban is a network that a server refuses.
type Ban struct {
	// Server is the name of the server.
	Server string `json:"server"`
	// Network is who is refused: an address, or what it belongs to.
	Network netip.Prefix `json:"network"`
	// Since is when the ban began, Until when it ends by itself.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Failures are the different wrong logins that led to it, and that came
	// after it.
	Failures int `json:"failures"`
	// Refused counts connections and logins that the ban has refused.
	Refused int `json:"refused"`
}

// Login is one try of a client to log in.
type Login struct {
	Server         string
	Remote         netip.Addr
	Policy         *GuardPolicy
	Name, Password string // the name folded, so that its spellings are one
}

// Attempt is a login whose turn it is. It is to be ended.
type Attempt struct {
	guard   *Guard
	login   Login
	counted []netip.Prefix // what a failure counts for
	hashes  pair
	wide    bool // has a place in the client's networks
	settled bool // and has given it back
	guess   guardKey
}

// exempt reports whether a client is never banned.
func (p *GuardPolicy) exempt(a netip.Addr) bool {
	return !a.IsValid() || slices.ContainsFunc(p.Exempt, func(n netip.Prefix) bool { return n.Contains(a) })
}

// networks returns what a wrong login of a client counts for.
func networks(a netip.Addr) []netip.Prefix {
	list := make([]netip.Prefix, len(classes))
	for i, c := range classes {
		bits := c.v4
		if a.Is6() {
			bits = c.v6
		}
		list[i], _ = a.Prefix(bits)
	}
	return list
}

// Banned reports whether a client is refused before it has said a word. One
// that has logged in well lately is not: who is behind its address is to be
// seen.
func (g *Guard) Banned(server string, a netip.Addr, p *GuardPolicy) bool {
	if p.exempt(a) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	nets := networks(a)
	if g.good(server, nets[0], now) != nil {
		return false
	}
	return g.refusedBy(server, nets, now)
}

// Known reports whether a client has logged in well lately.
func (g *Guard) Known(server string, a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.good(server, ClientPrefix(a), time.Now()) != nil
}

// refusedBy reports whether one of the networks is banned, and counts that.
func (g *Guard) refusedBy(server string, nets []netip.Prefix, now time.Time) bool {
	for _, n := range nets {
		if e := g.peek(guardKey{server: server, network: n}); e != nil && now.Before(e.until) {
			e.refused++
			return true
		}
	}
	return false
}

// Begin waits for a login's turn: so many may be under way at a time as would
// not pass what leads to a ban if all of them were wrong. The ban is looked at
// here, with the password in hand: it holds for connections that were open
// before it.
func (g *Guard) Begin(ctx context.Context, l Login) (*Attempt, error) {
	a := &Attempt{guard: g, login: l, hashes: g.pair(l.Name, l.Password)}
	a.guess = guardKey{server: l.Server, network: ClientPrefix(l.Remote), name: a.hashes.name}
	if !l.Policy.exempt(l.Remote) {
		a.counted = networks(l.Remote)
	}
	ctx, cancel := context.WithTimeout(ctx, maxTurn)
	defer cancel()
	for {
		wake, err := g.try(a, time.Now())
		if wake == nil {
			return a, err
		}
		select {
		case <-wake:
			g.doneWaiting()
		case <-ctx.Done():
			g.doneWaiting()
			return nil, ErrBusy
		}
	}
}

// try takes the attempt's places, or returns what to wait for.
func (g *Guard) try(a *Attempt, now time.Time) (wake <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	server, p := a.login.Server, a.login.Policy
	trusted := false
	if len(a.counted) > 0 {
		client := g.good(server, a.counted[0], now)
		known := client.knows(a.hashes.name, now)
		switch {
		case client.knowsPair(a.hashes, now):
			return nil, nil // the very login that was right before
		case known:
			trusted = true
		case client != nil && !client.guessed(a.hashes.name) && client.count < spare*p.Max:
			trusted = true
		case g.refusedBy(server, a.counted, now):
			return nil, ErrBanned
		}
	}
	guess := g.entry(a.guess, now, p)
	busy := guess.pending > 0 && guess.count+guess.pending >= min(parallelGuesses, p.Max)
	if !trusted {
		for i, n := range a.counted {
			e := g.entry(guardKey{server: server, network: n}, now, p)
			busy = busy || e.pending > 0 && e.count+e.pending >= p.Max*classes[i].factor
		}
	}
	if busy {
		if g.waiting >= maxWaiting {
			return nil, ErrBusy
		}
		g.waiting++
		if g.wake == nil {
			g.wake = make(chan struct{})
		}
		return g.wake, nil
	}
	guess.pending++
	if !trusted {
		a.wide = true
		for _, n := range a.counted {
			g.entry(guardKey{server: server, network: n}, now, p).pending++
		}
	}
	a.settled = false
	return nil, nil
}

// Failed counts a wrong login: once, however often the same name and password
// come again. It returns how long the answer is to be held back, and the bans
// that begin with it.
func (a *Attempt) Failed() (delay time.Duration, bans []Ban) {
	g, p, now := a.guard, a.login.Policy, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, n := range a.counted {
		e := g.entry(guardKey{server: a.login.Server, network: n}, now, p)
		if g.wrong(e, a.hashes) && p.Ban > 0 && e.count >= p.Max*classes[i].factor && !now.Before(e.until) {
			e.banned, e.until = now, now.Add(p.Ban)
			bans = append(bans, e.ban())
		}
	}
	g.wrong(g.entry(a.guess, now, p), a.hashes)
	// Guesses at one account from many addresses slow each other down.
	account := g.entry(guardKey{server: a.login.Server, name: a.hashes.name}, now, p)
	g.wrong(account, a.hashes)
	a.settle()
	if p.Delay <= 0 || g.waiting >= maxWaiting {
		return 0, bans
	}
	return min(p.Delay<<min(account.count-1, 16), maxDelay), bans
}

// Succeeded remembers a right login.
func (a *Attempt) Succeeded() {
	if len(a.counted) == 0 {
		return
	}
	g, now := a.guard, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.right(g.entry(guardKey{server: a.login.Server, network: a.counted[0]}, now, a.login.Policy), a.hashes, now)
}

// End gives the attempt's places back, after the delay of a failed one.
func (a *Attempt) End() {
	g := a.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	a.settle()
	if e := g.peek(a.guess); e != nil && e.pending > 0 {
		e.pending--
	}
	g.wakeAll()
}

// settle gives the places in the client's networks back, under the lock.
func (a *Attempt) settle() {
	if !a.wide || a.settled {
		return
	}
	a.settled = true
	for _, n := range a.counted {
		if e := a.guard.peek(guardKey{server: a.login.Server, network: n}); e != nil && e.pending > 0 {
			e.pending--
		}
	}
	a.guard.wakeAll()
}

// Wait holds the answer to a failed login back.
func (g *Guard) Wait(ctx context.Context, delay time.Duration, until <-chan struct{}) {
	if delay <= 0 {
		return
	}
	g.mu.Lock()
	g.waiting++
	g.mu.Unlock()
	defer g.doneWaiting()
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-until:
	case <-ctx.Done():
	}
}
