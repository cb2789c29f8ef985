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
	"cmp"
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
	// spare is how many times Max wrong logins a client with good ones may
	// have, beside one for each account that has logged in from there, before
	// only those accounts are let in.
	spare = 4
)

// classes are what a wrong login counts for: the client, its site and its
// neighbourhood, each with as many times the client's number of wrong logins.
// (mox counts the same networks.) Who has an IPv6 /48 has 65,536 clients.
var classes = [...]struct{ v4, v6, factor int }{{32, 64, 1}, {26, 48, 2}, {21, 32, 10}}

var (
	// ErrBanned says that a login is refused unseen.
	ErrBanned = errors.New("address is banned")
	// ErrBusy says that a login did not come to its turn.
	ErrBusy = errors.New("too many logins under way")
	// ErrEnding says that the connection is to end before a login's turn.
	ErrEnding = errors.New("the connection is about to end")
)

// Ban is a network that a server refuses, or an account that it refuses to one
// client.
type Ban struct {
	// Server is the name of the server.
	Server string `json:"server"`
	// Network is who is refused: a client, or the networks it belongs to.
	Network netip.Prefix `json:"network"`
	// Account is what the client may not log in as; empty for all accounts
	// but those that have logged in from there before.
	Account string `json:"account,omitempty"`
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
	Server string
	Remote netip.Addr
	Policy *GuardPolicy
	// Name is folded, so that its spellings are one.
	Name, Password string
}

// Attempt is a login whose turn it is. It is to be ended.
type Attempt struct {
	guard  *Guard
	login  Login
	hashes pair
	// counted are the networks of a client that can be banned.
	counted []netip.Prefix
	// wide are the places that it has in them, guess is its place among the
	// client's guesses at the account.
	wide  []guardKey
	guess guardKey
	taken bool
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
// that has logged in well lately is not: who is behind its address is yet to
// be seen.
func (g *Guard) Banned(server string, a netip.Addr, p *GuardPolicy) bool {
	if p.exempt(a) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	nets := networks(a)
	if g.peek(guardKey{server: server, network: nets[0]}).good(now) {
		return false
	}
	return g.refusedBy(server, nets, now)
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
// before it. It waits no longer than until.
func (g *Guard) Begin(ctx context.Context, l Login, until <-chan struct{}) (*Attempt, error) {
	a := &Attempt{guard: g, login: l, hashes: g.pair(l.Name, l.Password)}
	a.guess = guardKey{server: l.Server, network: ClientPrefix(l.Remote), name: a.hashes.name}
	if !l.Policy.exempt(l.Remote) {
		a.counted = networks(l.Remote)
	}
	var timeout <-chan time.Time
	for {
		wake, err := g.try(a, time.Now())
		if wake == nil {
			return a, err
		}
		if timeout == nil {
			t := time.NewTimer(maxTurn)
			defer t.Stop()
			timeout = t.C
		}
		err = ErrBusy
		select {
		case <-wake:
			g.doneWaiting()
			continue
		case <-timeout:
		case <-until:
			err = ErrEnding
		case <-ctx.Done():
		}
		g.doneWaiting()
		return nil, err
	}
}

// place is one of a bounded number.
type place struct {
	key   guardKey
	limit int
}

// try takes the attempt's places, or returns what to wait for. A login that is refused
// leaves nothing behind.
func (g *Guard) try(a *Attempt, now time.Time) (wake <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	server, p := a.login.Server, a.login.Policy
	var client *guardEntry
	if len(a.counted) > 0 {
		client = g.known(guardKey{server: server, network: a.counted[0]}, now, p)
		if client.knowsPair(a.hashes, now) {
			return nil, nil // the very login that was right before is no guess
		}
	}
	places := []place{{a.guess, min(parallelGuesses, p.Max)}}
	guess := g.known(a.guess, now, p)
	switch {
	case len(a.counted) == 0:
	case guess != nil && now.Before(guess.until):
		guess.refused++
		return nil, ErrBanned
	case client.knows(a.hashes.name, now):
		// An account's own devices may have its old password.
	default:
		if limit, good := client.tolerated(p, now); good && client.count < limit {
			places = append(places, place{client.key, limit})
			break
		}
		if g.refusedBy(server, a.counted, now) {
			return nil, ErrBanned
		}
		for i, n := range a.counted {
			places = append(places, place{guardKey{server: server, network: n}, p.Max * classes[i].factor})
		}
	}
	for _, x := range places {
		if e := g.known(x.key, now, p); e != nil && e.pending > 0 && e.count+e.pending >= x.limit {
			return g.queue()
		}
	}
	a.taken, a.wide = true, nil
	for i, x := range places {
		g.entry(x.key, now, p).pending++
		if i > 0 {
			a.wide = append(a.wide, x.key)
		}
	}
	return nil, nil
}

// queue returns what a login waits for.
func (g *Guard) queue() (wake <-chan struct{}, err error) {
	if g.waiting >= maxWaiting {
		return nil, ErrBusy
	}
	g.waiting++
	if g.wake == nil {
		g.wake = make(chan struct{})
	}
	return g.wake, nil
}

// Outcome is what a wrong login leads to.
type Outcome struct {
	// Delay is how long the answer is to be held back.
	Delay time.Duration
	// Repeated reports whether the same was wrong from there before.
	Repeated bool
	// Bans are those that begin with it.
	Bans []Ban
}

// Failed counts a wrong login: once, however often the same name and password
// come again.
func (a *Attempt) Failed() (o Outcome) {
	g, p, now := a.guard, a.login.Policy, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	o.Delay, o.Repeated = a.slow(now)
	server := a.login.Server
	for i, n := range a.counted {
		e := g.entry(guardKey{server: server, network: n}, now, p)
		limit, good := p.Max*classes[i].factor, false
		if i == 0 {
			limit, good = e.tolerated(p, now)
		}
		if g.wrong(e, a.hashes) && e.count >= limit {
			o.Bans = g.beginBan(e, o.Bans, p, now)
		}
		if good {
			break // its neighbours have no part in it
		}
	}
	if guess := g.entry(a.guess, now, p); len(a.counted) > 0 && len(o.Bans) == 0 && guess.count >= p.Max {
		guess.account = a.login.Name
		o.Bans = g.beginBan(guess, o.Bans, p, now)
	}
	a.leaveNetworks()
	return o
}

// Withheld is for a login that was right and is refused all the same: it is
// answered as slowly as a wrong one, and leads to no ban.
func (a *Attempt) Withheld() (delay time.Duration) {
	g := a.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	delay, _ = a.slow(time.Now())
	a.leaveNetworks()
	return delay
}

// Unsure is for a login of which nothing is known: a source of accounts does not answer,
// and what is held of it may be old. It is answered as slowly as a wrong one. The client
// may have spare times as many of those: its devices are not to blame, and a guesser has
// an end all the same.
func (a *Attempt) Unsure() (o Outcome) {
	g, p, now := a.guard, a.login.Policy, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	o.Delay, o.Repeated = a.slow(now)
	if len(a.counted) > 0 {
		k := guardKey{server: a.login.Server, network: a.counted[0]}
		e := g.entry(k, now, p)
		limit, _ := e.tolerated(p, now)
		k.name = unsure
		if u := g.entry(k, now, p); g.wrong(u, a.hashes) && u.count >= spare*limit {
			e.count = max(e.count, u.count)
			o.Bans = g.beginBan(e, o.Bans, p, now)
		}
	}
	a.leaveNetworks()
	return o
}

// slow counts a refused login of the account, and returns how long the answer
// is to be held back. Guesses at one account slow each other down, from
// wherever they come, and no other account's.
func (a *Attempt) slow(now time.Time) (delay time.Duration, repeated bool) {
	g, p := a.guard, a.login.Policy
	account := g.entry(guardKey{server: a.login.Server, name: a.hashes.name}, now, p)
	g.wrong(account, a.hashes)
	repeated = !g.wrong(g.entry(a.guess, now, p), a.hashes) && a.guess != account.key
	if p.Delay > 0 && g.waiting < maxWaiting {
		delay = min(p.Delay<<min(account.count-1, 16), maxDelay)
	}
	return delay, repeated
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

// End gives the attempt's places back: after the delay of a refused one, so
// that its client's next guess at the account waits as long.
func (a *Attempt) End() {
	g := a.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	a.leaveNetworks()
	if a.taken {
		a.taken = false
		g.leave(a.guess)
	}
}

// leaveNetworks gives the places in the client's networks back.
func (a *Attempt) leaveNetworks() {
	for _, k := range a.wide {
		a.guard.leave(k)
	}
	a.wide = nil
}

func (g *Guard) leave(k guardKey) {
	if e := g.peek(k); e != nil && e.pending > 0 {
		e.pending--
	}
	if g.wake != nil {
		close(g.wake)
		g.wake = nil
	}
}

// Wait holds the answer to a refused login back.
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

func (g *Guard) doneWaiting() {
	g.mu.Lock()
	g.waiting--
	g.mu.Unlock()
}

// Bans returns the bans in force, by server and network.
func (g *Guard) Bans() []Ban {
	g.mu.Lock()
	defer g.mu.Unlock()
	list, now := []Ban{}, time.Now()
	for el := g.lasting.Front(); el != nil; el = el.Next() {
		if e := el.Value.(*guardEntry); now.Before(e.until) {
			list = append(list, e.ban())
		}
	}
	slices.SortFunc(list, func(a, b Ban) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), a.Network.Addr().Compare(b.Network.Addr()),
			cmp.Compare(a.Network.Bits(), b.Network.Bits()), cmp.Compare(a.Account, b.Account))
	})
	return list
}

// Lift ends the bans of a server, or of all for "", that refuse any address of
// a network, forgets what led to them, and returns how many there were.
func (g *Guard) Lift(server string, network netip.Prefix) (lifted int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, el := range g.entries {
		e := el.Value.(*guardEntry)
		if server != "" && e.key.server != server || !e.key.network.IsValid() || !e.key.network.Overlaps(network) {
			continue
		}
		if now.Before(e.until) {
			lifted++
		}
		g.forgive(e, now)
	}
	return lifted
}
