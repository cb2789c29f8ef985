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

package pgdb

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

// silence is how long a connection may say nothing before it is asked.
const silence = 30 * time.Second

// askAgain is how soon a question that could not be sent is sent again.
const askAgain = 50 * time.Millisecond

// errDeaf says that a notification was sent and did not arrive.
var errDeaf = errors.New("LISTEN succeeds and nothing is heard: a notification of our own did not come back")

// echoes is the channel of this process on which it tells itself something. It is one for
// all connections, since a pooler's remember what was listened to over them.
var echoes = sync.OnceValue(func() string { return "mailgateway_echo_" + rand.Text() })

// hearing is what is known of notifications.
type hearing struct {
	mu      sync.Mutex
	err     error // why nothing is heard; nil as long as that is not known
	logger  *zap.Logger
	instead string
}

// WarnUnheard has a line written when LISTEN does not work at this database, or not
// with what is in front of it, and says what happens instead.
func (d *DB) WarnUnheard(logger *zap.Logger, instead string) {
	d.hearing.mu.Lock()
	defer d.hearing.mu.Unlock()
	d.hearing.logger, d.hearing.instead = logger, instead
}

// Unheard returns why Listen hears nothing, and what happens instead. The error is nil if it hears,
// and as long as nobody has listened.
func (d *DB) Unheard() (instead string, err error) {
	d.hearing.mu.Lock()
	defer d.hearing.mu.Unlock()
	return d.hearing.instead, d.hearing.err
}

// hears notes that notifications arrive, or why they don't.
func (d *DB) hears(err error) error {
	h := &d.hearing
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.err
	h.err = err
	switch {
	case h.logger == nil || (err == nil) == (was == nil):
	case err != nil:
		h.logger.Warn("the database's notifications do not get through: "+h.instead, zap.Error(err))
	default:
		h.logger.Info("the database's notifications get through again")
	}
	return err
}

// Listen calls heard with the payload of each notification on a channel, over a
// connection of its own. It calls began when it listens, for what came before, and
// returns when the connection is lost or ctx is over.
//
// That LISTEN succeeds says little: behind PgBouncer in transaction mode it does, and
// nothing is ever heard; a connection that was cut hears nothing either, nor one
// to a server that is the primary no longer. So it tells itself something, over a connection
// of those by which others tell, before it calls began and whenever nothing was heard
// for a while, and returns if that does not arrive.
func (d *DB) Listen(ctx context.Context, channel string, began func(), heard func(payload string)) error {
	dial, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(dial)
	if err != nil {
		return d.explain(err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing depends on the farewell
	for _, c := range []string{channel, echoes()} {
		if _, err := conn.Exec(dial, "LISTEN "+pgx.Identifier{c}.Sanitize()); err != nil {
			if refused(err) {
				return d.hears(d.explain(err))
			}
			return d.explain(err)
		}
	}
	var asking asking
	defer func() { _ = asking.wait() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	proven := func() {
		_ = d.hears(nil)
		if began != nil {
			began()
			began = nil
		}
	}
	asking.ask(ctx, d)
	for {
		most := d.silence
		if asking.token != "" {
			most = d.timeout
		}
		wait, cancel := context.WithTimeout(ctx, most)
		n, err := conn.WaitForNotification(wait)
		quiet := err != nil && wait.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case quiet && asking.token == "":
			asking.ask(ctx, d)
		case quiet:
			// What could not be sent says nothing about what is heard.
			sent := asking.wait()
			switch {
			case sent == nil && began == nil:
				return d.explain(errDeaf) // the next connection will show whether it was this one
			case sent == nil:
				return d.hears(d.explain(errDeaf))
			case refused(sent):
				proven() // as good as it can be known
			case began != nil:
				return sent
			}
			ask, cancel := context.WithTimeout(ctx, d.timeout)
			err := conn.Ping(ask)
			cancel()
			if err != nil {
				return err
			}
		case err != nil:
			return err
		case n.Channel == echoes():
			if n.Payload == asking.token {
				asking.token = ""
				proven()
			}
		default:
			heard(n.Payload)
		}
	}
}

// refused reports whether it is the statement that the server does not take, and not its
// state.
func refused(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && !strings.HasPrefix(pg.Code, "57") && !strings.HasPrefix(pg.Code, "53")
}

// asking is a question to oneself. Its token is empty when it was answered.
type asking struct {
	token string
	sent  chan error
}

// ask sends one over the connections by which others tell. The answer may take the
// other half of the time.
func (a *asking) ask(ctx context.Context, d *DB) {
	_ = a.wait()
	token, sent := rand.Text(), make(chan error, 1)
	a.token, a.sent = token, sent
	go func() {
		ctx, cancel := context.WithTimeout(ctx, d.timeout/2)
		defer cancel()
		for {
			// One that is dead and does not say so must not take all of the time.
			try, cancel := context.WithTimeout(ctx, d.timeout/6)
			err := d.run(try, true, func(ctx context.Context, q Querier) error {
				_, err := q.Exec(ctx, "SELECT pg_notify($1, $2)", echoes(), token)
				return err
			})
			cancel()
			if err == nil || refused(err) {
				sent <- err
				return
			}
			// Those connections may be of before a crash, each of them.
			select {
			case <-ctx.Done():
				sent <- err
				return
			case <-time.After(askAgain):
			}
		}
	}()
}

// wait returns what became of the question that was sent last.
func (a *asking) wait() error {
	if a.sent == nil {
		return nil
	}
	err := <-a.sent
	a.token, a.sent = "", nil
	return err
}
