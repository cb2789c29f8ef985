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
	"slices"

	"github.com/caddymail/mailgateway/accounts/password"
)

// Authenticate checks a login and says which of the account's passwords it was:
// the session is bound to that. The error is ErrBadCredentials, ErrPaused,
// ErrOverloaded or ErrUnavailable (errors.Is).
//
// A name that nobody knows, and one without a password, cost what a wrong
// password costs: the same kind and number of hashes as one of the directory's
// accounts, always the same one for the same name. Sources that are asked by name
// are asked for each name that is refused, the one of an account that they hold too, and
// a source that does not answer leaves each refusal open. A paused account costs the same
// whether the password is right or wrong. What remains to be seen from outside is that
// a success in the near past is answered faster than anything else, which tells
// only whoever knows the password already.
func (d *Directory) Authenticate(ctx context.Context, name, secret string) (Login, error) {
	f, err := d.find(ctx, name)
	if err != nil {
		// As long as for an account that is held.
		_, _ = d.verify(ctx, nil, name, secret)
		return Login{}, err
	}
	login, err := d.verify(ctx, f.Account, name, secret)
	if err == nil {
		return login, nil
	}
	if f.Account == nil {
		d.missed(name)
		return Login{}, err
	}
	now, gone := d.confirm(ctx, f, name)
	switch {
	case gone != nil:
		return Login{}, gone
	case errors.Is(err, ErrOverloaded) || !anew(f.Account, now):
		return Login{}, err
	}
	return d.verify(ctx, now, name, secret)
}

// verify checks a password against an account as it is; nil: nobody has the name.
func (d *Directory) verify(ctx context.Context, a *Account, name, secret string) (Login, error) {
	if a == nil || len(a.hashes) == 0 {
		if len(name) > maxNameLen {
			name = name[:maxNameLen]
		}
		key := FoldName(name)
		_, err := d.verifier.Verify(ctx, key, d.fakes(key), secret)
		switch {
		case err != nil:
			return Login{}, err
		case a == nil:
			return Login{}, ErrUnknown
		}
		return Login{}, ErrBadCredentials
	}
	verify := d.verifier.Verify
	if a.Paused {
		verify = d.verifier.VerifyWhole
	}
	i, err := verify(ctx, a.Key(), a.hashes, secret)
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

// confirm has each source look for a name that has not looked for it in this login, as
// they have for a name that nobody has. It returns the account as it is now.
func (d *Directory) confirm(ctx context.Context, f found, name string) (*Account, error) {
	now := f.Account
	for i := f.at; i < len(d.sources); i++ {
		c, ok := d.sources[i].(Confirmer)
		if !ok || !d.indexes[i].loading.Load() || i == f.at && f.loaded {
			continue
		}
		a, err := c.Confirm(ctx, name)
		if err != nil {
			return nil, d.unavailable(i, err)
		}
		if i == f.at {
			now = a
		}
	}
	return now, nil
}

// anew reports whether a password that was not let in is worth another look: the
// account has others now, or is no longer paused. A program that checks passwords itself
// was asked by what it has.
func anew(was, now *Account) bool {
	if now == nil || now == was || now.CheckedOutside() {
		return false
	}
	return now.Paused != was.Paused || !slices.EqualFunc(now.hashes, was.hashes, (*password.Hash).Same)
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
