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

// Package store is the directory of a spool: a file each message, in shards, within
// bounds, durable when Commit says so; and the Keeper, which copies a body while
// nothing says yet whether it is needed. It knows no queue and no time of delivery.
// Nothing of it outlives the spool. It imports internal/seal and the rooms beside it.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/caddymail/mailgateway/spool/internal/record"
)

// Remove removes a message that is settled. Its journal says so already, so a
// removal that a crash undoes is repeated at the next start.
func (s *Store) Remove(env *record.Envelope, size int64) error {
	path := s.Path(env.ID, MessageExt)
	switch err := s.disk.Remove(path); {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		// What an operator removed meanwhile is no failure of the disk.
	case errors.Is(err, fs.ErrPermission):
		return err // nor is a directory that is closed to this process; it may pass
	default:
		return s.Fail(fmt.Errorf("removing a message: %w", err))
	}
	s.Release(env, size)
	return nil
}

// RemoveForGood removes a message whose journal does not say that it is settled: it is
// not there after a crash either.
func (s *Store) RemoveForGood(env *record.Envelope, size int64) error {
	if err := s.Remove(env, size); err != nil {
		return err
	}
	return s.syncDir(filepath.Join(s.dir, ShardOf(env.ID)))
}
