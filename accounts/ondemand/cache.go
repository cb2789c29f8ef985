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

package ondemand

import (
	"container/list"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
)

const (
	// maxLooked bounds the names of which it is remembered that they were looked for, and
	// those of accounts that are gone.
	maxLooked = 8192
	// goneFor is how long it is remembered that an account is gone: for who keeps something
	// of it, and looks when accounts have changed.
	goneFor = time.Minute
)

// Reader reads accounts from where they are.
type Reader interface {
	// Read returns what there is for names, which are folded, by those names. A
	// name that is not in the result has no account. The error means that
	// nothing is known of any of them. Without names it says whether the source
	// can be read. It is called from several goroutines.
	Read(ctx context.Context, names []string) (map[string]Found, error)
}

// Sampler is a Reader that can show some accounts without a name. They say what
// a failed login should cost, before anybody has logged in.
type Sampler interface {
	Sample(ctx context.Context, n int) (map[string]Found, error)
}

// Found is what there is for a name: an account, or what is wrong with its
// record.
type Found struct {
	Account *accounts.Account
	Problem accounts.Problem
}

// Options bound a cache.
type Options struct {
	// Size is the number of accounts that are held.
	Size int
	// Fresh is how long an account is held before it is read again.
	Fresh time.Duration
	// Stale is how long it is held when that fails.
	Stale time.Duration
	// Negative is how long a name is not looked for again that a login has been refused
	// for: one without a usable account, and one whose password was wrong.
	Negative time.Duration
	// Batch is the number of names of one read.
	Batch int
	// Readers is the number of reads of missing names at a time.
	Readers int
}

// Cache holds accounts of a source.
type Cache struct {
	name   string
	reader Reader
	set    Options
	logger *zap.Logger
	index  accounts.Index
	kick   chan struct{}

	mu      sync.Mutex
	entries map[string]*list.Element // of *entry, by folded name
	byAge   *list.List               // the one that was read longest ago is in front
	due     map[string]struct{}      // to be read again now
	dueNext time.Time                // not before, unless there are many
	all     pass                     // over all that is held
	bad     int                      // entries with a problem
	looked  map[string]look          // names that a login had looked for
	gone    map[string]time.Time     // accounts that there were, until when that is remembered
	flights map[string]*flight
	waiting []*flight // that nobody reads yet
	readers int       // that read missing names
	sampled bool      // the source could be read once
	seen    time.Time // and when it was the last time
	failure error     // of the last read
	pause   time.Duration
	retry   time.Time // not before
	notes   map[string]accounts.Problem
}

// entry is what was read of a name that has something.
type entry struct {
	name    string
	account *accounts.Account // nil: problem
	problem accounts.Problem
	read    time.Time
}

// New returns a cache that is empty. The name is the source's.
func New(name string, reader Reader, set Options, logger *zap.Logger) *Cache {
	c := &Cache{
		name: name, reader: reader, set: set, logger: logger,
		kick:    make(chan struct{}, 1),
		entries: make(map[string]*list.Element),
		byAge:   list.New(),
		due:     make(map[string]struct{}),
		looked:  make(map[string]look),
		gone:    make(map[string]time.Time),
		flights: make(map[string]*flight),
	}
	c.index.SetLoading(true)
	return c
}

// Index has the accounts that are held. Names that are not in it may exist.
func (c *Cache) Index() *accounts.Index { return &c.index }

// Gone reports whether it is known that there was an account of that name and is none.
// What is not held because others are says nothing.
func (c *Cache) Gone(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.gone[accounts.FoldName(name)])
}

// Changed has accounts read again whose records may have changed; names that
// are not held are looked for when they are asked for.
func (c *Cache) Changed(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		name = accounts.FoldName(name)
		delete(c.looked, name)
		if c.entries[name] != nil {
			c.due[name] = struct{}{}
		}
		if f := c.flights[name]; f != nil {
			f.again = true
		}
	}
	c.wake()
}

// ChangedAll has all accounts read again: nobody knows which of them changed. That is at
// once, unless all were read a moment ago: who calls it without end has a tenth of the
// source's time.
func (c *Cache) ChangedAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all.wanted = true
	c.beginAll(time.Now())
	c.wake()
}

func (c *Cache) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Note has a problem of the source's own stand among its problems until another call
// takes it back with nil. The subject says which one it is.
func (c *Cache) Note(subject string, p *accounts.Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p == nil {
		delete(c.notes, subject)
		return
	}
	if c.notes == nil {
		c.notes = make(map[string]accounts.Problem)
	}
	was, noted := c.notes[subject]
	c.notes[subject] = *p
	if !noted || was.Message != p.Message {
		c.logger.Warn("bad source", zap.String("source", p.Source), zap.String("field", p.Field), zap.String("problem", p.Message))
	}
}

// Problems are the records that cannot be used, as far as they were asked for,
// and what is wrong with the source, or that it cannot be read.
func (c *Cache) Problems() []accounts.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []accounts.Problem
	if c.failure != nil {
		all = append(all, accounts.Unread(c.name, c.failure, c.index.Len() > 0))
	} else {
		for _, subject := range slices.Sorted(maps.Keys(c.notes)) {
			all = append(all, c.notes[subject])
		}
	}
	if c.bad == 0 {
		return all
	}
	n := len(all)
	for el := c.byAge.Front(); el != nil; el = el.Next() {
		if e := of(el); e.account == nil {
			all = append(all, e.problem)
		}
	}
	slices.SortFunc(all[n:], func(a, b accounts.Problem) int { return strings.Compare(a.Account, b.Account) })
	return all
}

func of(el *list.Element) *entry { return el.Value.(*entry) } //nolint:forcetypeassert // the list holds nothing else

// apply takes over what a read that began at a time found for a name, and
// returns it.
func (c *Cache) apply(name string, found Found, ok bool, began time.Time) *entry {
	el := c.entries[name]
	if el != nil && of(el).account != nil && found.Account == nil {
		makeRoom(c.gone, func(end time.Time) time.Time { return end })
		c.gone[name] = time.Now().Add(goneFor)
	} else if found.Account != nil {
		delete(c.gone, name)
	}
	if !ok {
		c.remove(el)
		c.setLooked(name, look{began.Add(c.set.Negative), false})
		return nil
	}
	e := &entry{name: name, account: found.Account, problem: found.Problem, read: began}
	var was *entry
	if el != nil {
		was = of(el)
		if was.account == nil {
			c.bad--
		}
		el.Value = e
		c.byAge.MoveToBack(el)
	} else {
		c.entries[name] = c.byAge.PushBack(e)
	}
	switch {
	case e.account == nil:
		c.bad++
		c.index.Delete(name)
		if was == nil || was.account != nil || was.problem != e.problem {
			c.report(e.problem)
		}
	case was != nil && was.account != nil && same(was.account, e.account):
		e.account = was.account
	default:
		c.index.Set(e.account)
	}
	for len(c.entries) > c.set.Size {
		c.remove(c.byAge.Front())
	}
	return e
}

// same reports whether two accounts differ in nothing, so that a reader of the
// index sees no change.
func same(a, b *accounts.Account) bool {
	return a.Revision() == b.Revision() && reflect.DeepEqual(a.Record, b.Record)
}

func (c *Cache) remove(el *list.Element) {
	if el == nil {
		return
	}
	e := of(el)
	c.byAge.Remove(el)
	delete(c.entries, e.name)
	delete(c.due, e.name)
	if e.account == nil {
		c.bad--
		return
	}
	c.index.Delete(e.name)
}

// look is that a name was looked for: it is not looked for again before a time, whether or
// not there was an account. Who tries names and passwords learns nothing from how often
// that is.
type look struct {
	until time.Time
	found bool
}

func (c *Cache) setLooked(name string, l look) {
	makeRoom(c.looked, func(l look) time.Time { return l.until })
	c.looked[name] = l
}

// makeRoom has a map of names not grow without end: what is over goes first.
func makeRoom[T any](m map[string]T, until func(T) time.Time) {
	if len(m) < maxLooked {
		return
	}
	now := time.Now()
	for n, v := range m {
		if now.After(until(v)) {
			delete(m, n)
		}
	}
	if len(m) >= maxLooked {
		clear(m)
	}
}

// report logs a bad record, but not each of a table full of them.
func (c *Cache) report(p accounts.Problem) {
	const most = 10
	switch {
	case c.bad < most:
		c.logger.Error("bad account", zap.String("account", p.Account),
			zap.String("field", p.Field), zap.String("problem", p.Message))
	case c.bad == most:
		c.logger.Error("more bad accounts, smtp problems has them all", zap.String("source", c.name))
	}
}

// failed takes note that the source cannot be read, and for how long nobody
// tries again.
func (c *Cache) failed(err error) {
	const least, most = time.Second, 10 * time.Second
	if c.failure == nil {
		c.pause = least
		c.logger.Error("accounts cannot be read, those that are held go on",
			zap.String("source", c.name), zap.Int("held", c.index.Len()), zap.Duration("at_most", c.set.Stale), zap.Error(err))
	} else {
		c.pause = min(2*c.pause, most)
	}
	c.failure, c.retry = err, time.Now().Add(c.pause)
	c.wake() // nobody may ask any more, and it is to be found again all the same
}

func (c *Cache) worked() {
	c.seen = time.Now()
	if c.failure == nil {
		return
	}
	c.failure, c.retry = nil, time.Time{}
	c.logger.Info("accounts can be read again", zap.String("source", c.name))
}

// away is the error of a name that cannot be looked for now.
func (c *Cache) away() error { return fmt.Errorf("it could not be read: %w", c.failure) }
