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

// Package storelock locks a name in Caddy's storage for a short change of it.
package storelock

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/certmagic"
)

// Lock locks a name. What gives it back does so whatever has become of ctx, within
// patience: a lock that stays would keep every other process out.
func Lock(ctx context.Context, storage certmagic.Locker, name string, patience time.Duration) (unlock func() error, err error) {
	if err := storage.Lock(ctx, name); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return storage.Unlock(ctx, name)
	}, nil
}
