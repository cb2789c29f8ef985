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

// Package notify passes troubles that Caddy events announce on to people.
package notify

import (
	"context"
	"fmt"
	"time"
)

// Trouble is what a person is told. It holds only fields that cannot carry a
// secret: a provider's description stays in the log.
type Trouble struct {
	Event    string `json:"event"`
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	Code     string `json:"code,omitempty"`
	Cause    string `json:"cause,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// key is what makes two events one trouble. The code is no part of it: a
// provider that words the same failure differently is still one trouble.
func (t Trouble) key() string {
	return fmt.Sprintf("%q %q %q", t.Event, t.Provider, t.Account)
}

const (
	maxQueue = 256
	maxKnown = 4096
)

// sender delivers one digest.
type sender interface {
	send(ctx context.Context, troubles []Trouble) error
}

// desk collects troubles and sends each once, together with those that come
// within its window. It belongs to a destination and not to a configuration,
// so that a reload does not tell again.
type desk struct {
	to            sender
	window, again time.Duration
	sendTimeout   time.Duration
	failed        func(err error, troubles int)
	queue         chan Trouble
	cancel        context.CancelFunc
	done          chan struct{}
}

func newDesk(to sender, window, again, sendTimeout time.Duration, failed func(error, int)) *desk {
	ctx, cancel := context.WithCancel(context.Background())
	d := &desk{
		to: to, window: window, again: again, sendTimeout: sendTimeout, failed: failed,
		queue: make(chan Trouble, maxQueue), cancel: cancel, done: make(chan struct{}),
	}
	go d.run(ctx)
	return d
}

// tell reports whether there was room for t. It never waits: events are
// emitted in the middle of a token refresh.
func (d *desk) tell(t Trouble) bool {
	select {
	case d.queue <- t:
		return true
	default:
		return false
	}
}

// Destruct implements caddy.Destructor: it ends the desk, a send included.
func (d *desk) Destruct() error {
	d.cancel()
	<-d.done
	return nil
}

func (d *desk) run(ctx context.Context) {
	defer close(d.done)
	told := make(map[string]time.Time)
	var batch []Trouble
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-d.queue:
			now := time.Now()
			if at, ok := told[t.key()]; ok && now.Sub(at) < d.again {
				continue
			}
			if len(told) >= maxKnown {
				clear(told)
			}
			told[t.key()] = now
			if batch = append(batch, t); due == nil {
				due = time.After(d.window)
			}
		case <-due:
			sending, stop := context.WithTimeout(ctx, d.sendTimeout)
			err := d.to.send(sending, batch)
			stop()
			if err != nil {
				// What did not arrive is told at its next event.
				for _, t := range batch {
					delete(told, t.key())
				}
				d.failed(err, len(batch))
			}
			batch, due = nil, nil
		}
	}
}
