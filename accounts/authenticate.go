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

package accounts

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"github.com/caddymail/mailgateway/accounts/password"
)

// Authenticate checks a login and says which of the account's passwords it was:
// the session is bound to that. The error is ErrBadCredentials, ErrPaused,
// ErrOverloaded or ErrUnavailable (errors.Is).
//
// A name that nobody knows, and one without a password, cost what a wrong
// password costs: the same kind and number of hashes as one of the directory's
// accounts, always the same one for the same name. What remains to be seen
// from outside is that a success in the near past is answered faster than
// anything else, which tells only whoever knows the password already; and that,
// while a source is still loading, a name costs a look at its storage once.
func (d *Directory) Authenticate(ctx context.Context, name, secret string) (Login, error) {
	a, err := d.Get(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Login{}, err
	}
	if a == nil || len(a.hashes) == 0 {
		if a == nil {
			d.missed(name)
		}
		if len(name) > maxNameLen {
			name = name[:maxNameLen]
		}
		key := FoldName(name)
		if _, err := d.verifier.Verify(ctx, key, d.fakes(key), secret); err != nil {
			return Login{}, err
		}
		return Login{}, ErrBadCredentials
	}
	i, err := d.verifier.Verify(ctx, a.Key(), a.hashes, secret)
	switch {
	case err != nil:
		return Login{}, err
	case i < 0:
		return Login{}, ErrBadCredentials
	case a.Paused:
		// Only now: a stranger is not told.
		return Login{}, ErrPaused
	}
	return Login{a, a.credential(a.hashes[i])}, nil
}

func (d *Directory) missed(name string) {
	for _, s := range d.sources {
		if l, ok := s.(Loader); ok {
			l.Missed(name)
		}
	}
}

// fakes chooses the hashes that an unknown name is checked against: weighted
// rendezvous hashing over the profiles of the directory. A name keeps its
// profile while others come and go, and unknown names are spread over the
// profiles as the accounts are.
func (d *Directory) fakes(key string) []*password.Hash {
	best, score := password.DefaultProfile, math.Inf(-1)
	for _, x := range d.indexes {
		costs := x.costs.Load()
		if costs == nil {
			continue
		}
		for _, c := range *costs {
			mac := d.verifier.MAC([]byte(key), []byte{0}, []byte(c.ID()))
			// A number in (0, 1].
			u := (float64(binary.BigEndian.Uint64(mac)>>11) + 1) / (1 << 53)
			if s := math.Log(u) / float64(c.n); s > score {
				best, score = c.Profile, s
			}
		}
	}
	return best.Fakes()
}
