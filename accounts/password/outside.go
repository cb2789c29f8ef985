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

package password

import (
	"context"
	"fmt"
	"time"
)

// Outside is a program that knows whether a password is right, and does not tell
// the password's hash: a directory, for one.
type Outside struct {
	// Name tells it from all others of the process.
	Name string
	// Remember is how long a right password is not asked for again, unless the
	// hash's text changes.
	Remember time.Duration
	// Check asks for a password of an account. An error says that nothing is known of it.
	Check func(ctx context.Context, account, password string) (bool, error)
	// Decoy costs what Check does, for a name that nobody has. No password is
	// right.
	Decoy func(ctx context.Context, name, password string) (bool, error)
}

// maxOutside are the checks that wait for other programs at a time. They need no
// core: they have neither a place among the slow ones nor take one away.
const maxOutside = 256

// ExternalHash stands where the hash of a password would. The text says which
// password of whom it is: another one when the password has changed.
func ExternalHash(text string, o *Outside) *Hash {
	return &Hash{kind: External, text: text, outside: o}
}

// ask has another program check the password.
func (v *Verifier) ask(ctx context.Context, key cacheKey, account string, h *Hash, password string, whole bool) (int, error) {
	v.ops[External].Add(1)
	ok, err := h.outside.Check(ctx, account, password)
	switch {
	case err != nil:
		return -1, fmt.Errorf("%w: %w", ErrOverloaded, err)
	case !ok:
		return -1, nil
	}
	if !whole {
		v.cache.addFor(key, 0, h.outside.Remember)
	}
	return 0, nil
}
