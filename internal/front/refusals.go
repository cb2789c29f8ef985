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
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxRefusals is the number of refusals that are remembered, each with
	// all its repetitions.
	maxRefusals = 1000
	// sayEvery is how often the same refusal is said in the log.
	sayEvery = time.Minute
	// maxSaid is how many refusals are said in that time in all. What is
	// beyond waits for the next period.
	maxSaid = 300
)

// Refusal is what one client was refused for one cause, however often.
type Refusal struct {
	// Server is the name of the server.
	Server string `json:"server"`
	// ClientIP is the client's address, the latest of its network; empty
	// over a unix socket.
	ClientIP string `json:"client_ip,omitempty"`
	// Account is who the client is, or says to be.
	Account string `json:"account,omitempty"`
	// Cause is why, a word of a closed set.
	Cause string `json:"cause"`
	// Detail says more: the command, or what a handshake offered.
	Detail string `json:"detail,omitempty"`
	// Reply is what the client heard; empty if it heard nothing.
	Reply string `json:"reply,omitempty"`
	// Remedy is what to do about it.
	Remedy string `json:"remedy,omitempty"`
	// Session is the id of the latest session; empty if none was opened.
	Session string `json:"session,omitempty"`
	// Count is how often it happened, First and Last when.
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Say puts a refusal into the log. It happened n times since it was said last;
// unsaid others were forgotten before there was room to say them.
type Say func(r Refusal, n, unsaid int)

// Refusals remembers refusals and says each at most once a minute. A client
// that repeats itself displaces no other. There is one in the process.
type Refusals struct {
	mu     sync.Mutex
	byKey  map[refusalKey]*list.Element
	lru    list.List // of *refusalEntry, the latest first
	minute time.Time // when said began to count
	said   int
	unsaid int // of entries that are forgotten
}

type refusalKey struct {
	server, cause, account string
	client                 netip.Prefix
}

type refusalEntry struct {
	Refusal
	key   refusalKey
	quiet time.Time // when it may be said again
	n     int       // not said yet
	say   Say
	timer *time.Timer // says what is not said yet; nil if there is nothing
}

// NewRefusals makes a memory without refusals.
func NewRefusals() *Refusals {
	return &Refusals{byKey: make(map[refusalKey]*list.Element)}
}

// Add remembers a refusal that happened now, and says it unless it was said a
// moment ago; then it is said together with those that follow. Accounts are
// told apart if perAccount is set. What is urgent is said at once.
func (l *Refusals) Add(r Refusal, client netip.Addr, perAccount, urgent bool, say Say) {
	k := refusalKey{server: r.Server, cause: r.Cause, client: ClientPrefix(client)}
	if perAccount {
		k.account = r.Account
	}
	now := time.Now()
	l.mu.Lock()
	e := l.entry(k, now)
	r.Count, r.First, r.Last = e.Count+1, e.First, now
	e.Refusal, e.say = r, say
	e.n++
	n, unsaid := l.due(e, now, urgent)
	l.mu.Unlock()
	if n > 0 {
		say(r, n, unsaid)
	}
}

// entry returns the entry of a key, the latest from now on.
func (l *Refusals) entry(k refusalKey, now time.Time) *refusalEntry {
	if el, ok := l.byKey[k]; ok {
		l.lru.MoveToFront(el)
		return el.Value.(*refusalEntry)
	}
	if l.lru.Len() >= maxRefusals {
		last := l.lru.Remove(l.lru.Back()).(*refusalEntry)
		delete(l.byKey, last.key)
		l.unsaid += last.n
		last.n = 0
		if last.timer != nil {
			last.timer.Stop()
		}
	}
	e := &refusalEntry{key: k, Refusal: Refusal{First: now}}
	l.byKey[k] = l.lru.PushFront(e)
	return e
}

// due returns what of an entry is to be said now. Where it is not its time, it
// is said later.
func (l *Refusals) due(e *refusalEntry, now time.Time, urgent bool) (n, unsaid int) {
	if now.Sub(l.minute) >= sayEvery {
		l.minute, l.said = now, 0
	}
	next := e.quiet
	if l.said >= maxSaid {
		next = l.minute.Add(sayEvery)
		urgent = false
	}
	if next.After(now) && !urgent {
		if e.timer == nil {
			e.timer = time.AfterFunc(next.Sub(now), func() { l.catchUp(e) })
		}
		return 0, 0
	}
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	l.said++
	n, unsaid = e.n, l.unsaid
	e.n, l.unsaid = 0, 0
	e.quiet = now.Add(sayEvery)
	return n, unsaid
}

// catchUp says what was held back.
func (l *Refusals) catchUp(e *refusalEntry) {
	l.mu.Lock()
	e.timer = nil
	if e.n == 0 {
		l.mu.Unlock()
		return
	}
	n, unsaid := l.due(e, time.Now(), false)
	r, say := e.Refusal, e.say
	l.mu.Unlock()
	if n > 0 {
		say(r, n, unsaid)
	}
}

// List returns the refusals that are remembered, the latest first.
func (l *Refusals) List() []Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Refusal, 0, l.lru.Len())
	for el := l.lru.Front(); el != nil; el = el.Next() {
		list = append(list, el.Value.(*refusalEntry).Refusal)
	}
	return list
}
