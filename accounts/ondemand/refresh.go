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
	"time"

	"go.uber.org/zap"
)

// sampleSize is the number of accounts that are read at the start.
const sampleSize = 64

const (
	// gather is how long changes are gathered after some were read, unless they fill a
	// batch: who tells of one account without end has it read so often.
	gather = 25 * time.Millisecond
	// early is the part of its time that an account may be read before it is due, together
	// with others.
	early = 20
	// allLeast is the least time between two readings of all that is held, and allTimes
	// how many times what the last one took.
	allLeast, allTimes = time.Second, 9
)

// pass is a reading of all that is held, which somebody asked for.
type pass struct {
	wanted bool      // another one, as soon as it may be
	runs   bool      // not all is read yet
	since  time.Time // when it began: what was read before is due
	next   time.Time // not before
}

// beginAll begins a reading of all that is wanted, if it may be.
func (c *Cache) beginAll(now time.Time) {
	c.endAll(now)
	if !c.all.wanted || c.all.runs || now.Before(c.all.next) {
		return
	}
	c.all = pass{runs: true, since: now}
	clear(c.looked)
	for _, f := range c.flights {
		f.again = true
	}
	c.endAll(now)
}

// endAll takes note of that nothing is left of it.
func (c *Cache) endAll(now time.Time) {
	if el := c.byAge.Front(); !c.all.runs || el != nil && of(el).read.Before(c.all.since) {
		return
	}
	took := max(min(allTimes*now.Sub(c.all.since), c.set.Fresh), allLeast)
	c.all.runs, c.all.next = false, now.Add(took)
}

// Run keeps what is held up to date, until the context ends.
func (c *Cache) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(c.idle())
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.kick:
		}
		for c.refresh(ctx) {
		}
		c.probe(ctx)
	}
}

// sample shows that the source can be read, and what its passwords cost.
func (c *Cache) sample(ctx context.Context) (map[string]Found, error) {
	if s, ok := c.reader.(Sampler); ok {
		return s.Sample(ctx, min(sampleSize, c.set.Size))
	}
	return c.reader.Read(ctx, nil)
}

// probe is for a source of which nothing has to be read, and of which it is not
// known whether it could be: at first, after a failure, and where nobody asked for long.
func (c *Cache) probe(ctx context.Context) {
	c.mu.Lock()
	now := time.Now()
	first, known := !c.sampled, c.sampled && c.failure == nil && now.Sub(c.seen) < c.set.Fresh || now.Before(c.retry)
	c.mu.Unlock()
	if known {
		return
	}
	began := time.Now()
	var found map[string]Found
	var err error
	if first {
		found, err = c.sample(ctx)
	} else {
		_, err = c.reader.Read(ctx, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			c.failed(err)
		}
		return
	}
	c.worked()
	if !first {
		return
	}
	c.sampled = true
	for name, f := range found {
		if c.entries[name] == nil && c.flights[name] == nil {
			c.apply(name, f, true, began)
		}
	}
	c.logger.Info("accounts can be read", zap.String("source", c.name), zap.Duration("duration", time.Since(began)))
}

// idle is how long nothing has to be read.
func (c *Cache) idle() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	wait := c.set.Fresh
	if !c.sampled {
		wait = 0 // whether it can be read is known before anybody asks
	}
	c.beginAll(now)
	if el := c.byAge.Front(); el != nil {
		wait = min(wait, c.set.Fresh-now.Sub(of(el).read))
	}
	switch {
	case c.all.runs, len(c.due) >= c.set.Batch:
		wait = 0
	case len(c.due) > 0:
		wait = min(wait, c.dueNext.Sub(now))
	}
	if c.all.wanted {
		wait = min(wait, c.all.next.Sub(now))
	}
	if c.failure != nil {
		wait = min(c.retry.Sub(now), c.nextEnd(now))
	}
	return max(wait, 0)
}

// nextEnd is when the entry that was read longest ago is held too long.
func (c *Cache) nextEnd(now time.Time) time.Duration {
	el := c.byAge.Front()
	if el == nil {
		return c.set.Stale
	}
	return c.set.Stale - now.Sub(of(el).read)
}

// take chooses what is to be read again. What is due by its age has half of a batch: it
// would be lost in the end where more changes than can be read.
func (c *Cache) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.dropStale(now)
	if now.Before(c.retry) {
		return nil
	}
	c.beginAll(now)
	names, chosen := make([]string, 0, c.set.Batch), make(map[string]bool)
	choose := func(name string) {
		if !chosen[name] {
			chosen[name] = true
			names = append(names, name)
		}
		delete(c.due, name)
	}
	aged := func(most int) {
		fresh := c.set.Fresh
		for el := c.byAge.Front(); el != nil && len(names) < most; el = el.Next() {
			e := of(el)
			if now.Sub(e.read) < fresh && !(c.all.runs && e.read.Before(c.all.since)) {
				break
			}
			choose(e.name)
			fresh = c.set.Fresh - c.set.Fresh/early // those that are next are read with it
		}
	}
	aged((c.set.Batch + 1) / 2)
	if len(c.due) >= c.set.Batch || len(c.due) > 0 && !now.Before(c.dueNext) {
		c.dueNext = now.Add(gather)
		for name := range c.due {
			if len(names) == c.set.Batch {
				break
			}
			choose(name)
		}
	}
	aged(c.set.Batch)
	return names
}

// dropStale lets go of what could not be read again for too long.
func (c *Cache) dropStale(now time.Time) {
	for el := c.byAge.Front(); el != nil && now.Sub(of(el).read) >= c.set.Stale; el = c.byAge.Front() {
		c.remove(el)
	}
}

// refresh reads one batch again, and reports whether there may be another.
func (c *Cache) refresh(ctx context.Context) bool {
	names := c.take()
	if len(names) == 0 || ctx.Err() != nil {
		return false
	}
	began := time.Now()
	found, err := c.reader.Read(ctx, names)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			c.failed(err)
		}
		for _, name := range names {
			if c.entries[name] != nil {
				c.due[name] = struct{}{}
			}
		}
		return false
	}
	c.worked()
	for _, name := range names {
		if c.entries[name] == nil {
			continue // it had to go meanwhile
		}
		f, ok := found[name]
		c.apply(name, f, ok, began)
	}
	return true
}
