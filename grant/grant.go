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

// Package grant is the seam between transports, which need access tokens, and
// the app `oauth_tokens`, which has them. It is a leaf: both sides import it
// and neither imports the other.
//
// A grant is what an owner has consented to at one provider: it belongs to a
// mailbox, not to an account. Accounts of one mailbox share it, with its one
// refresh token and its one refresh at a time. Several access tokens come from
// one grant, one for each set of scopes: Entra issues a token for one resource
// at a time, so that SMTP and Graph need two.
package grant

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/oauth2"
)

// Request asks for an access token.
type Request struct {
	// Provider is the name of a provider of the app `oauth_tokens`.
	Provider string
	// Account is the name of the account's record. It says where an earlier
	// version kept the refresh token, and whom a log line is about.
	Account string
	// Mailbox is the account's identity at the provider. Default: Account.
	Mailbox string
	// Seed is the refresh token of the account's record, if it has one. It
	// is a secret.
	Seed string `json:"-"`
	// Scopes are what the token shall be good for, in the order of the
	// token request. Default: the provider's own.
	Scopes []string
}

// Format implements fmt.Formatter: a request that is printed shows no seed.
func (r Request) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "provider '%s', account '%s', mailbox '%s', scopes %q", r.Provider, r.Account, r.Owner(), r.Scopes)
}

// Owner is the mailbox whose grant it is, in the form that is compared:
// providers do not tell capital letters apart.
func (r Request) Owner() string {
	if r.Mailbox == "" {
		return strings.ToLower(r.Account)
	}
	return strings.ToLower(r.Mailbox)
}

// ScopeKey names the set of scopes; it is empty for the provider's own. It
// does not allocate for one scope.
func (r Request) ScopeKey() string {
	if len(r.Scopes) == 1 {
		return r.Scopes[0]
	}
	return strings.Join(r.Scopes, " ")
}

// Source is what a transport needs of the app `oauth_tokens`.
type Source interface {
	// Token returns a valid access token, which is shared and must not be
	// changed. Its errors may be a Refusal.
	Token(ctx context.Context, r Request) (*oauth2.Token, error)
	// Fresh returns an access token that the provider issued after the call,
	// whatever was refused before. The one in use stays in use meanwhile.
	Fresh(ctx context.Context, r Request) (*oauth2.Token, error)
	// Reject says that the upstream refused the token.
	Reject(r Request, t *oauth2.Token)
	// HasProvider reports whether a provider of that name is configured.
	HasProvider(name string) bool
}

// Refusal is an error of a Source that has more to say to a client than that
// there is no token now.
type Refusal interface {
	error
	// ReauthRequired reports whether only the owner's consent can help.
	ReauthRequired() bool
	// Reply is the text of a reply to the client: one line of printable
	// ASCII without secrets; empty where the general words are true.
	Reply() string
}
