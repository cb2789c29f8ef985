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

package authserver

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/form"
)

// Resolve replaces the placeholders of a configured value. literal says that
// there were none.
func Resolve(s string) (value string, literal bool, err error) {
	if s == "" {
		return "", false, nil
	}
	if !strings.Contains(s, "{") {
		return s, true, nil
	}
	v, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err != nil {
		return "", false, form.Unresolved(err)
	}
	// Files end in a newline that is no part of the secret.
	v = strings.TrimSpace(v)
	if v == "" {
		return "", false, errors.New("placeholders resolve to nothing")
	}
	return v, v == s, nil
}

// resolveFields replaces the placeholders of the provider's fields in place
// of copies: the configuration that the admin API shows is another one.
func (p *Provider) resolveFields() error {
	for _, f := range []struct {
		name string
		v    *string
	}{
		{"client_id", &p.ClientID},
		{"tenant", &p.Tenant},
		{"issuer", &p.Issuer},
		{"token_url", &p.TokenURL},
		{"auth_url", &p.AuthURL},
		{"device_auth_url", &p.DeviceAuthURL},
		{"client_certificate", &p.ClientCertificate},
		{"client_key", &p.ClientKey},
		{"federated_token_file", &p.FederatedTokenFile},
		{"service_account_file", &p.ServiceAccountFile},
		{"service_account", &p.ServiceAccount},
		{"external_token_file", &p.ExternalTokenFile},
		{"iam_credentials_url", &p.IAMCredentialsURL},
		{"secret_expires", &p.SecretExpires},
	} {
		v, _, err := Resolve(*f.v)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := form.Text.Check(v); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		*f.v = v
	}
	for i, scope := range p.Scopes {
		if err := form.Text.Check(scope); err != nil || scope == "" {
			return fmt.Errorf("scopes[%d]: %w", i, cmp.Or(err, errors.New("it is empty")))
		}
	}
	for _, f := range []struct {
		name string
		v    *string
	}{{"client_secret", &p.ClientSecret}, {"client_certificate_password", &p.ClientCertificatePassword}} {
		v, literal, err := Resolve(*f.v)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if literal {
			if err := cmp.Or(form.Text.Check(v), form.Secret.Check(v)); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			if hint := form.ShellVariable(v); hint != "" {
				p.logger.Warn(f.name + ": " + hint)
			}
			p.logger.Warn("a secret stands in the configuration itself, which the admin API shows; use a placeholder such as {file./path} or {env.NAME}")
		}
		*f.v = v
	}
	return nil
}
