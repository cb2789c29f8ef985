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
	"sync"
)

// claims are the directories of each configuration, by the spool that names them.
var claims struct {
	sync.Mutex
	of map[context.Context]map[string]string
}

// Claim notes that a spool of a configuration has a directory. Two would send each
// other's mail: the second is refused. The configuration's end gives all of them back.
func Claim(configuration context.Context, dir, spool string) error {
	claims.Lock()
	defer claims.Unlock()
	own := claims.of[configuration]
	if other, taken := own[dir]; taken {
		return fmt.Errorf("directory: %s is that of spool '%s': each needs its own", dir, other)
	}
	if own == nil {
		own = make(map[string]string)
		if claims.of == nil {
			claims.of = make(map[context.Context]map[string]string)
		}
		claims.of[configuration] = own
		context.AfterFunc(configuration, func() {
			claims.Lock()
			defer claims.Unlock()
			delete(claims.of, configuration)
		})
	}
	own[dir] = spool
	return nil
}
