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
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// maxFlights bounds the names that are looked for at a time.
const maxFlights = 4096

var errBusy = errors.New("too many names are looked for at the same time")

// flight is a name that is looked for, with all who wait for it. The first
// three are its own once done is closed.
type flight struct {
	account *accounts.Account
	problem *accounts.Problem
	err     error

	name  string
	done  chan struct{}
	again bool // its record changed meanwhile
	held  bool // it was looked for though an account was held
}

// Load looks for a name that is not in the index. It implements
// accounts.Loader.
func (c *Cache) Load(ctx context.Context, name string) (*accounts.Account, error) {
	if accounts.CheckName(name) != nil {
		return nil, nil
	}
	return c.wait(ctx, accounts.FoldName(name), false)
}

// Confirm looks for a name again of which an account is held, if it has not been looked
// for lately. It implements accounts.Confirmer.
func (c *Cache) Confirm(ctx context.Context, name string) (*accounts.Account, error) {
	return c.wait(ctx, accounts.FoldName(name), true)
}

func (c *Cache) wait(ctx context.Context, name string, again bool) (*accounts.Account, error) {
	f, a, err := c.join(name, again)
	if f == nil {
		return a, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if f.problem != nil {
		return nil, accounts.ProblemError{Problem: *f.problem}
	}
	return f.account, f.err
}

// join returns what is known of a name, or who looks for it; again: also if an account
// is held.
func (c *Cache) join(name string, again bool) (*flight, *accounts.Account, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	l := c.looked[name]
	looked := now.Before(l.until)
	if el := c.entries[name]; el != nil && (!again || looked) {
		e := of(el)
		_, due := c.due[name]
		switch {
		case e.account != nil:
			return nil, e.account, nil
		case !due && now.Sub(e.read) < c.set.Negative || c.failure != nil:
			return nil, nil, accounts.ProblemError{Problem: e.problem}
		}
	}
	if looked && !l.found {
		return nil, nil, nil
	}
	if f := c.flights[name]; f != nil {
		return f, nil, nil
	}
	if now.Before(c.retry) {
		return nil, nil, c.away()
	}
	if len(c.flights) >= maxFlights {
		return nil, nil, errBusy
	}
	f := &flight{name: name, done: make(chan struct{}), held: again}
	c.flights[name] = f
	c.waiting = append(c.waiting, f)
	// Where the source did not answer, one tries for all.
	if c.readers < c.set.Readers && (c.failure == nil || c.readers == 0) {
		c.readers++
		go c.look()
	}
	return f, nil, nil
}

// look reads the names that are waited for until there are none.
func (c *Cache) look() {
	for {
		c.mu.Lock()
		batch := c.waiting[:min(len(c.waiting), c.set.Batch)]
		if len(batch) == 0 {
			c.waiting = nil
			c.readers--
			c.mu.Unlock()
			return
		}
		c.waiting = c.waiting[len(batch):]
		c.mu.Unlock()

		names := make([]string, len(batch))
		for i, f := range batch {
			names[i] = f.name
		}
		// Whoever waits may leave; the next one with that name gets it.
		began := time.Now()
		found, err := c.reader.Read(context.Background(), names)

		c.mu.Lock()
		if err != nil {
			c.failed(err)
			// Those that came meanwhile would wait for the same.
			batch, c.waiting = append(slices.Clip(batch), c.waiting...), nil
		} else {
			c.worked()
		}
		for _, f := range batch {
			if err != nil {
				f.err = c.away()
			} else {
				c.land(f, found, began)
			}
			delete(c.flights, f.name)
			close(f.done)
		}
		c.mu.Unlock()
	}
}

func (c *Cache) land(f *flight, found map[string]Found, began time.Time) {
	got, ok := found[f.name]
	var e *entry
	if el := c.entries[f.name]; f.held && el != nil && of(el).account != nil && of(el).account.CheckedOutside() {
		// Its password was asked for where it is known. What a directory writes down of a
		// wrong one is no news, and would have the same one asked for again.
		e = of(el)
	} else {
		e = c.apply(f.name, got, ok, began)
	}
	c.setLooked(f.name, look{began.Add(c.set.Negative), ok})
	if f.again {
		delete(c.looked, f.name)
		if e != nil {
			c.due[f.name] = struct{}{}
			c.wake()
		}
	}
	switch {
	case e == nil:
	case e.account == nil:
		f.problem = &e.problem
	default:
		f.account = e.account
	}
}
