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
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/operate"
)

// EventTrouble is the event of a trouble that has begun or is over. Its data are
// the fields of a Notice.
const EventTrouble = "smtp_trouble"

// lookTimeout bounds one look.
const lookTimeout = 20 * time.Second

// watch looks at the gateway while a configuration has a handler.
type watch struct {
	// every is the time between two looks. A trouble must be gone for two of
	// them to be over.
	every time.Duration
	look  func(ctx context.Context) []checkup.Finding
	emit  func(Notice)
	stop  context.CancelFunc
	done  chan struct{}
}

func newWatch(every time.Duration, look func(context.Context) []checkup.Finding, emit func(Notice)) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{every: every, look: look, emit: emit, stop: cancel, done: make(chan struct{})}
	go w.run(ctx)
	return w
}

// Destruct implements caddy.Destructor.
func (w *watch) Destruct() error {
	w.stop()
	<-w.done
	return nil
}

// lasting is a trouble that has begun and is not over.
type lasting struct {
	notice Notice
	seen   time.Time
}

func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	troubles := make(map[string]lasting)
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		looking, stop := context.WithTimeout(ctx, lookTimeout)
		findings := w.look(looking)
		stop()
		if ctx.Err() != nil {
			return
		}
		w.compare(troubles, findings, time.Now())
	}
}

// compare emits what has begun and what is over since the look before. A look
// that found nothing at all looked at nothing: no configuration runs.
func (w *watch) compare(troubles map[string]lasting, findings []checkup.Finding, now time.Time) {
	if len(findings) == 0 {
		return
	}
	for _, f := range findings {
		if !f.Trouble() {
			continue
		}
		n := Notice{State: began, Check: f.Check, Subject: f.Subject, Account: f.Account, Cause: f.Cause, Remedy: f.Remedy}
		key := n.key()
		if _, known := troubles[key]; !known {
			w.emit(n)
		}
		troubles[key] = lasting{n, now}
	}
	for key, t := range troubles {
		if now.Sub(t.seen) < 2*w.every {
			continue
		}
		delete(troubles, key)
		t.notice.State, t.notice.Remedy = over, ""
		w.emit(t.notice)
	}
}

// emitTrouble hands a notice to Caddy's events, and so to every handler.
func emitTrouble(n Notice) {
	app, err := operate.App[*caddyevents.App]("events")
	if err != nil {
		return
	}
	app.Emit(caddy.ActiveContext(), EventTrouble, printable.Event(map[string]any{
		"state": n.State, "check": n.Check, "subject": n.Subject, "account": n.Account, "cause": n.Cause, "remedy": n.Remedy,
	}))
}
