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

package operate

import (
	"context"
	"fmt"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/smtpapp/counters"
)

// DeleteAccount removes an account, with what is counted and stored of it.
func DeleteAccount(ctx context.Context, dir *accounts.Directory, name string, cond accounts.Condition) error {
	a, found := dir.Lookup(name)
	if err := dir.Delete(ctx, name, cond); err != nil {
		return err
	}
	if _, still := dir.Lookup(name); !found || still {
		return nil
	}
	counters.Forget(a.Name)
	if err := forgetTokens(ctx, a); err != nil {
		return fmt.Errorf("the account is deleted, its stored token is not: %w", err)
	}
	return nil
}

// forgetTokens deletes what the token store holds of an account that is gone:
// a deleted mailbox's refresh token must not live on in it, nor be kept alive.
func forgetTokens(ctx context.Context, a *accounts.Account) error {
	app, err := App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return nil //nolint:nilerr // no such app, no tokens
	}
	provider, err := ProviderOf(a.Upstream)
	if err != nil {
		return nil //nolint:nilerr // an upstream without OAuth has none either
	}
	if sharesGrant(a, provider) {
		return nil
	}
	return app.Forget(ctx, GrantOf(provider, a))
}

// sharesGrant reports whether another account has the mailbox of one that is
// gone, and with it the grant.
func sharesGrant(a *accounts.Account, provider string) bool {
	dir, err := Directory()
	if err != nil {
		return true
	}
	owner := GrantOf(provider, a).Owner()
	others, _ := dir.List(accounts.Filter{Match: func(o *accounts.Account) bool {
		if GrantOf(provider, o).Owner() != owner {
			return false
		}
		p, err := ProviderOf(o.Upstream)
		return err == nil && p == provider
	}}, "", 1)
	return len(others) > 0
}

// RetryGrant lets a refused grant be asked for again: an operator has just said
// that something has changed.
func RetryGrant(a *accounts.Account) {
	app, err := App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return
	}
	if provider, err := ProviderOf(a.Upstream); err == nil {
		app.Retry(GrantOf(provider, a))
	}
}
