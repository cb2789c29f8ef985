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

package transfer

import (
	"context"
	"fmt"

	"github.com/caddyserver/certmagic"

	"github.com/caddymail/mailgateway/internal/presence"
)

// database is a storage that knows who is connected to it.
type database interface {
	Users(ctx context.Context) (int, error)
}

// Ready is an error if a gateway runs on one of two storages, as far as that can be
// seen, or if nobody could read what is written to the second. It is asked before
// anything else.
func Ready(ctx context.Context, from, to certmagic.Storage) error {
	if err := unused(ctx, from, to); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	if err := unused(ctx, to, from); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	if err := mayKeep(to); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	return nil
}

// unused is an error if a gateway runs on the storage. Two schemas of one database
// would see each other's connections.
func unused(ctx context.Context, s, other certmagic.Storage) error {
	others, err := presence.Others(s)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("a gateway runs on this storage, process %d on %s: stop it first", others[0].PID, others[0].Host)
	}
	db, ok := s.(database)
	if _, two := other.(database); !ok || two {
		return nil
	}
	n, err := db.Users(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("there are %d connections of gateways to this database: stop them first", n)
	}
	return err
}
