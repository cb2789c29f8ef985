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
	"time"

	"github.com/jackc/pgx/v5"
)

// silence is how long a connection may say nothing before it is asked.
const silence = 30 * time.Second

// Listen calls heard with the payload of each notification on a channel, over a
// connection of its own. It calls began when it listens, for what came before, and
// returns when the connection is lost or ctx is over.
func (d *DB) Listen(ctx context.Context, channel string, began func(), heard func(payload string)) error {
	dial, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(dial)
	if err != nil {
		return d.explain(err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing depends on the farewell
	if _, err := conn.Exec(dial, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return d.explain(err)
	}
	began()
	for {
		wait, cancel := context.WithTimeout(ctx, silence)
		n, err := conn.WaitForNotification(wait)
		quiet := err != nil && wait.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case quiet:
			// A connection that was cut says nothing either.
			ask, cancel := context.WithTimeout(ctx, d.timeout)
			err := conn.Ping(ask)
			cancel()
			if err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			heard(n.Payload)
		}
	}
}
