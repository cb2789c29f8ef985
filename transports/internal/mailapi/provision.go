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

package mailapi

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddymail/mailgateway/grant"
)

// LoadTrustPool loads the guest module of a transport's trust_pool, which is in
// the field.
func LoadTrustPool(ctx caddy.Context, transport any, field string) (*x509.CertPool, error) {
	mod, err := ctx.LoadModule(transport, field)
	if err != nil {
		return nil, fmt.Errorf("loading trust_pool module: %w", err)
	}
	ca, ok := mod.(caddytls.CA)
	if !ok {
		return nil, fmt.Errorf("trust_pool module %T is no certificate pool", mod)
	}
	return ca.CertPool(), nil
}

// Tokens returns the app that has the tokens; nil where none is configured, which
// Bind refuses.
func Tokens(ctx caddy.Context) (grant.Source, error) {
	mod, err := ctx.AppIfConfigured("oauth_tokens")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf("loading app oauth_tokens: %w", err)
	}
	tokens, _ := mod.(grant.Source)
	return tokens, nil
}
