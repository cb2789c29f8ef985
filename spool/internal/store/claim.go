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

package store

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/caddymail/mailgateway/spool/internal/record"
)

// claims are the directories of each configuration, by the spool that names them.
var claims struct {
	sync.Mutex
	of map[context.Context]map[string]string
}

// Claim notes that a spool of a configuration has a directory. Two would send each
// other's mail: the second is refused. The configuration's end gives them back.
func Claim(configuration context.Context, dir, spool string) (giveBack func(), err error) {
	claims.Lock()
	defer claims.Unlock()
	own := claims.of[configuration]
	if other, taken := own[dir]; taken {
		return nil, fmt.Errorf("directory: %s is that of spool '%s': each needs its own", dir, other)
	}
	if own == nil {
		own = make(map[string]string)
		if claims.of == nil {
			claims.of = make(map[context.Context]map[string]string)
		}
		claims.of[configuration] = own
	}
	own[dir] = spool
	return func() {
		claims.Lock()
		defer claims.Unlock()
		if delete(own, dir); len(own) == 0 {
			delete(claims.of, configuration)
		}
	}, nil
}

// RemoveForGood removes a message whose journal does not say that it is settled: it is
// not there after a crash either.
func (s *Store) RemoveForGood(env *record.Envelope, size int64) error {
	if err := s.Remove(env, size); err != nil {
		return err
	}
	return s.syncDir(filepath.Join(s.dir, ShardOf(env.ID)))
}
