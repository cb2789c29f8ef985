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

package dialer

import (
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	oauthgrant "github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Credentials are what a login takes. They can be compared.
type Credentials struct {
	Name, Mailbox, Secret, Seed, SourceIP string
}

// Of returns an account's credentials.
func Of(a *accounts.Account) Credentials {
	id := Credentials{
		Name: a.Name, Mailbox: a.Mailbox, Secret: a.Secret,
		Seed: a.RefreshToken, SourceIP: a.SourceIP,
	}
	if id.Mailbox == "" {
		id.Mailbox = a.Name
	}
	return id
}

// Grant is what the token source is asked with.
func (id Credentials) Grant(provider string) oauthgrant.Request {
	return oauthgrant.Request{Provider: provider, Account: id.Name, Mailbox: id.Mailbox, Seed: id.Seed}
}

// Login is what a connection logs in with.
func (id Credentials) Login(token *oauth2.Token) smtpclient.Login {
	l := smtpclient.Login{Mailbox: id.Mailbox, Secret: id.Secret}
	if token != nil {
		l.Token = token.AccessToken
	}
	return l
}

// Shared returns the part that makes a connection one that only some accounts
// of the mailbox may use. With OAuth all of them log in as the mailbox, with
// tokens that are the mailbox's.
func (id Credentials) Shared(s *smtpclient.Config) Credentials {
	id.Name, id.Seed = "", ""
	if s.OAuth() || s.Mechanism == smtpclient.AuthNone {
		id.Secret = ""
	}
	return id
}
