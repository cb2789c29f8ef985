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

package notify

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Notice is one thing that a person is told: that a trouble has begun or is
// over. It holds no secret, and nothing in the provider's own words.
type Notice struct {
	// State is `began` or `over`.
	State string `json:"state"`
	// Check is the kind of trouble, such as `consent` or `upstream`.
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"`
	Account string `json:"account,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

const (
	began = "began"
	over  = "over"
)

func (n Notice) key() string { return n.Check + "\x00" + n.Subject + "\x00" + n.Account }

const (
	// maxPending bounds what waits to be told; what is beyond is counted.
	maxPending = 1000
	// maxBegun bounds the troubles that are remembered.
	maxBegun = 50_000
	// retryMin and retryMax bound the pause after a digest that did not arrive.
	retryMin = time.Minute
	retryMax = 30 * time.Minute
	// farewell bounds the last digest, which the end of the process waits for.
	farewell = 5 * time.Second
)

// digest is what is told at once.
type digest struct {
	notices []Notice
	// more is how many others there were no room for.
	more int
}

// destination is where digests go.
type destination interface {
	send(ctx context.Context, d digest) error
}

// desk collects notices and sends those that come within its window together.
// It belongs to its destinations and not to a configuration.
type desk struct {
	outlets     []*outlet
	window      time.Duration
	sendTimeout time.Duration
	failed      func(err error, notices int)
	cancel      context.CancelFunc
	running     sync.WaitGroup

	mu sync.Mutex
	// begun are the troubles that were told, or wait to be, and are not over.
	begun map[string]bool
}

// outlet is what waits for one destination. Each has its own time: one that is slow
// or away holds up no other.
type outlet struct {
	to   destination
	wake chan struct{}

	pending digest // under the desk's lock
}

func newDesk(to []destination, window, sendTimeout time.Duration, failed func(error, int)) *desk {
	ctx, cancel := context.WithCancel(context.Background())
	d := &desk{window: window, sendTimeout: sendTimeout, failed: failed, cancel: cancel, begun: make(map[string]bool)}
	for _, t := range to {
		o := &outlet{to: t, wake: make(chan struct{}, 1)}
		d.outlets = append(d.outlets, o)
		d.running.Go(func() { d.run(ctx, o) })
	}
	return d
}

// tell adds a notice. It never waits. What has begun already is not told again,
// however many watches say so, and what is over before it was told is not told
// at all.
func (d *desk) tell(n Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := n.key()
	if d.begun[key] == (n.State == began) {
		return
	}
	room := true
	if n.State == over {
		delete(d.begun, key)
	} else if room = len(d.begun) < maxBegun; room {
		d.begun[key] = true
	}
	for _, o := range d.outlets {
		o.add(n, room)
	}
}

// add adds a notice, or the number of those there is no room for.
func (o *outlet) add(n Notice, room bool) {
	if n.State == over {
		waits := func(p Notice) bool { return p.State == began && p.key() == n.key() }
		if i := slices.IndexFunc(o.pending.notices, waits); i >= 0 {
			o.pending.notices = slices.Delete(o.pending.notices, i, i+1)
			return
		}
	}
	if !room || len(o.pending.notices) >= maxPending {
		o.pending.more++
	} else {
		o.pending.notices = append(o.pending.notices, n)
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Destruct implements caddy.Destructor: it sends what waits, and ends the desk.
func (d *desk) Destruct() error {
	d.cancel()
	d.running.Wait()
	return nil
}

// run sends digests to a destination.
func (d *desk) run(ctx context.Context, o *outlet) {
	pause := retryMin
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			last, stop := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			_ = d.deliver(last, o)
			stop()
			return
		case <-o.wake:
			if due == nil {
				due = time.After(d.window)
			}
		case <-due:
			due = nil
			err := d.deliver(ctx, o)
			if err == nil {
				pause = retryMin
				continue
			}
			wait := pause
			if asked, ok := errors.AsType[*later](err); ok {
				wait = max(asked.after, time.Second)
			} else {
				pause = min(2*pause, retryMax)
			}
			due = time.After(wait)
		}
	}
}

// deliver sends what waits. What has not arrived waits on.
func (d *desk) deliver(ctx context.Context, o *outlet) error {
	d.mu.Lock()
	fresh := o.pending
	o.pending = digest{}
	d.mu.Unlock()
	if len(fresh.notices) == 0 && fresh.more == 0 {
		return nil
	}
	sending, stop := context.WithTimeout(ctx, d.sendTimeout)
	err := o.to.send(sending, fresh)
	stop()
	if err == nil {
		return nil
	}
	if !errors.Is(err, context.Canceled) {
		d.failed(err, len(fresh.notices)+fresh.more)
	}
	d.mu.Lock()
	o.pending = fresh.with(o.pending)
	d.mu.Unlock()
	return err
}

// with adds a later digest, within the bound.
func (g digest) with(later digest) digest {
	room := min(maxPending-len(g.notices), len(later.notices))
	return digest{
		notices: append(slices.Clip(g.notices), later.notices[:room]...),
		more:    g.more + later.more + len(later.notices) - room,
	}
}
