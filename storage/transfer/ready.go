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
	// Apart has this process's own not be counted.
	Apart(ctx context.Context) error
}

// Ready is an error if a gateway runs on one of two storages, as far as that can be
// seen, or if nobody could read what is written to the second. It is asked before
// anything else.
func Ready(ctx context.Context, from, to certmagic.Storage) error {
	// Both may be schemas of one database: their connections are no gateway's.
	for _, s := range []certmagic.Storage{from, to} {
		if db, ok := s.(database); ok {
			if err := db.Apart(ctx); err != nil {
				return err
			}
		}
	}
	if err := unused(ctx, from); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	if err := unused(ctx, to); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	if err := mayKeep(to); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	return nil
}

// unused is an error if a gateway runs on the storage.
func unused(ctx context.Context, s certmagic.Storage) error {
	others, err := presence.Others(s)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("a gateway runs on this storage, process %d on %s: stop it first", others[0].PID, others[0].Host)
	}
	db, ok := s.(database)
	if !ok {
		return nil
	}
	n, err := db.Users(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("there are %d connections of gateways to this database: stop them first", n)
	}
	return err
}
