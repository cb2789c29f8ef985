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
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
)

var (
	// ErrNoUpstream is about an account whose upstream is not configured.
	ErrNoUpstream = errors.New("the account's upstream is not configured")
	// ErrNoOAuth is about an account whose upstream needs no tokens.
	ErrNoOAuth = errors.New("the account's upstream logs in without OAuth")
)

// NotRunningError is about an app that the running configuration lacks.
type NotRunningError struct{ App string }

func (e *NotRunningError) Error() string { return "the " + e.App + " app is not running" }

// App returns an app of the running configuration. Who answers requests asks
// for it each time, since a reload replaces it.
func App[T any](name string) (app T, err error) {
	mod, err := caddy.ActiveContext().AppIfConfigured(name)
	if err != nil {
		return app, &NotRunningError{name}
	}
	app, ok := mod.(T)
	if !ok {
		return app, fmt.Errorf("the %s app is a %T", name, mod)
	}
	return app, nil
}

// Sandboxed reports whether this process plays the provider itself.
func Sandboxed() bool {
	_, err := caddy.ActiveContext().AppIfConfigured("smtp_sandbox")
	return err == nil
}

// Directory returns the accounts of the running configuration.
func Directory() (*accounts.Directory, error) {
	app, err := App[*smtpapp.App]("smtp")
	if err != nil {
		return nil, err
	}
	return app.Directory(), nil
}

// ProviderOf is the OAuth provider of an upstream.
func ProviderOf(upstream string) (string, error) {
	app, err := App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return "", err
	}
	if !app.Has(upstream) {
		return "", ErrNoUpstream
	}
	provider := app.Provider(upstream)
	if provider == "" {
		return "", ErrNoOAuth
	}
	return provider, nil
}

// UnknownAccount names the account and what is wrong with its record, if it
// has one: who wrote it into a file looks for the account, not for problems.
func UnknownAccount(name string, problems []accounts.Problem) string {
	text := accounts.ErrNotFound.Error() + ": '" + name + "'"
	for _, p := range problems {
		if p.Kept || !strings.EqualFold(p.Account, name) {
			continue
		}
		where, what := p.File, p.Message
		if where == "" {
			where = p.Source
		}
		if p.Line != 0 {
			where += fmt.Sprintf(", line %d,", p.Line)
		}
		if p.Field != "" {
			what = "field '" + p.Field + "': " + what
		}
		return text + ": its record in " + where + " is not in use: " + what
	}
	return text
}

// GrantOf is what the token app is asked with for an account.
func GrantOf(provider string, a *accounts.Account) grant.Request {
	return grant.Request{Provider: provider, Account: a.Name, Mailbox: a.Mailbox, Seed: a.RefreshToken}
}
