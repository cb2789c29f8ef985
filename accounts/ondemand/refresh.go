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
	"slices"
	"time"

	"go.uber.org/zap"
)

// sampleSize is the number of accounts that are read at the start.
const sampleSize = 64

// Run keeps what is held up to date, until the context ends.
func (c *Cache) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(c.wait())
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

// wait is how long nothing has to be read.
func (c *Cache) wait() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	wait := c.set.Fresh
	if !c.sampled {
		wait = 0 // whether it can be read is known before anybody asks
	}
	if el := c.byAge.Front(); el != nil {
		e := of(el)
		wait = c.set.Fresh - now.Sub(e.read)
		if len(c.due) > 0 || e.read.Before(c.dueAll) {
			wait = 0
		}
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

// take chooses what is to be read again.
func (c *Cache) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.dropStale(now)
	if now.Before(c.retry) {
		return nil
	}
	var names []string
	for name := range c.due {
		if len(names) == c.set.Batch {
			return names
		}
		names = append(names, name)
		delete(c.due, name)
	}
	taken := len(names) // some of them may come again below
	for el := c.byAge.Front(); el != nil && len(names) < c.set.Batch; el = el.Next() {
		e := of(el)
		if now.Sub(e.read) < c.set.Fresh && !e.read.Before(c.dueAll) {
			break
		}
		if !slices.Contains(names[:taken], e.name) {
			names = append(names, e.name)
		}
	}
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
