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

// Package passwords lets users of the console in by passwords of the console's own: HTTP
// Basic (RFC 7617), with the bounds that logins of devices have. Caddy's basic_auth
// computes a hash for whoever asks, as often as they ask.
//
// # Reading order
//
// passwords.go.
//
// # What outlives a reload
//
// The guard and the verifier, which are the process's: a reload forgives nobody.
//
// # Locks
//
// None.
//
// # Imports
//
// accounts/password, whose slots the hashes take; internal/front, which counts guesses.
package passwords

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/front"
)

// Place is how bans call the console: no server of the configuration has that name.
const Place = "(console)"

// Of guesses: ten different ones of an address lead to a ban, and each at a name is
// answered more slowly than the one before, from wherever they come.
var policy = &front.GuardPolicy{Max: 10, Window: 15 * time.Minute, Ban: 15 * time.Minute, Delay: 500 * time.Millisecond}

// Users are those who have a password.
type Users struct {
	hashes map[string][]*password.Hash
	fakes  []*password.Hash
	guard  *front.Guard
	policy *front.GuardPolicy
	realm  string
	logger *zap.Logger
	some   rate.Sometimes // of the log's lines: a guesser makes as many as it wants
}

// New reads the hashes, by name; nil where there is none.
func New(list map[string]string, guard *front.Guard, realm string, logger *zap.Logger) (*Users, error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // nobody has a password
	}
	u := &Users{hashes: make(map[string][]*password.Hash, len(list)), guard: guard, policy: policy, realm: realm, logger: logger, some: rate.Sometimes{First: 20, Interval: 10 * time.Second}}
	var dearest *password.Hash
	for name, text := range list {
		if name == "" || strings.ContainsAny(name, ":\r\n") {
			return nil, fmt.Errorf("'%s' is no name: it has a colon, a line end, or nothing", name)
		}
		h, err := password.Parse(caddy.NewReplacer().ReplaceAll(text, ""))
		if err != nil {
			return nil, fmt.Errorf("of '%s': %w", name, err)
		}
		u.hashes[name] = []*password.Hash{h}
		if dearest == nil || h.Cost() > dearest.Cost() {
			dearest = h
		}
	}
	// An unknown name takes as long as one that there is.
	u.fakes = password.ProfileOf([]*password.Hash{dearest}).Fakes()
	return u, nil
}

// RefusedError is an answer to who is not let in.
type RefusedError struct {
	Status int
	Text   string
}

func (e *RefusedError) Error() string { return e.Text }

// Enter returns who makes a request. Where nobody does, or a password is wrong, the answer
// asks the browser for one.
func (u *Users) Enter(w http.ResponseWriter, r *http.Request, client string) (name string, err error) {
	name, plain, ok := r.BasicAuth()
	if ok {
		if err = u.check(r.Context(), client, name, plain); err == nil {
			return name, nil
		}
	}
	switch {
	case !ok, errors.Is(err, errWrong):
		w.Header().Set("WWW-Authenticate", "Basic realm="+strconv.QuoteToASCII(u.realm)+`, charset="UTF-8"`)
		return "", &RefusedError{http.StatusUnauthorized, "Name or password is wrong. Load the page again to be asked anew."}
	case errors.Is(err, front.ErrBanned):
		w.Header().Set("Retry-After", strconv.Itoa(int(u.policy.Ban.Seconds())))
		return "", &RefusedError{http.StatusTooManyRequests, fmt.Sprintf("Too many wrong passwords came from this address (%s). It may try again in %s at the latest; on the machine, `smtp ban lift` ends it now.", client, u.policy.Ban)}
	case errors.Is(err, front.ErrBusy), errors.Is(err, password.ErrOverloaded):
		w.Header().Set("Retry-After", "10")
		return "", &RefusedError{http.StatusServiceUnavailable, "Too many are signing in at once. Try again in a moment."}
	}
	return "", err
}

var errWrong = errors.New("wrong name or password")

func (u *Users) check(ctx context.Context, client, name, plain string) error {
	addr, _ := netip.ParseAddr(client) // one that is none is bound by the name alone
	try, err := u.guard.Begin(ctx, front.Login{
		Server: Place, Remote: addr.Unmap().WithZone(""), Policy: u.policy, Name: name, Password: plain,
	}, nil)
	if err != nil {
		return err
	}
	defer try.End()
	hashes, known := u.hashes[name]
	if !known {
		hashes = slices.Clone(u.fakes)
	}
	match, err := password.Process().Verify(password.WithClient(ctx, client), Place+" "+name, hashes, plain)
	switch {
	case err != nil:
		return err
	case match < 0 || !known:
		outcome := try.Failed()
		u.some.Do(func() {
			if !known {
				name = "" // it may be a password in the wrong field
			}
			u.logger.Warn("a wrong name or password for the console", zap.String("from", client), zap.String("user", name))
		})
		for _, b := range outcome.Bans {
			u.logger.Warn("address banned from the console", zap.Stringer("network", b.Network), zap.Int("failures", b.Failures), zap.Duration("ban", b.Until.Sub(b.Since)),
				zap.String("remedy", "it ends by itself, or by `smtp ban lift` and the page Clients"))
		}
		u.guard.Wait(ctx, outcome.Delay, nil)
		return errWrong
	}
	try.Succeeded()
	return nil
}
