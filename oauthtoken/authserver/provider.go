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
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/mscloud"
	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/oauthtoken/assertion"
)

// providerState is what Provision makes of a provider's configuration.
type providerState struct {
	name   string
	logger *zap.Logger
	kind   kind
	cloud  mscloud.Cloud
	// ownServer says that the endpoints are not the kind's.
	ownServer bool
	client    *http.Client
	cert      *assertion.Certificate
	sa        *assertion.ServiceAccount
	discovery discovery
	secretEnd time.Time
	clock     *Clock
	// owner is who has consented for a mailbox before, if that is known.
	owner func(mailbox string) *Identity
}

// Provision checks and completes the configuration. Nothing goes out.
func (p *Provider) Provision(ctx caddy.Context, name string) error {
	p.name, p.clock = name, new(Clock)
	p.logger = printable.Logger(ctx.Logger()).With(zap.String("provider", name))
	p.discovery.lock = make(chan struct{}, 1)
	if err := p.resolveFields(); err != nil {
		return err
	}
	if err := p.applyKind(); err != nil {
		return err
	}
	if err := p.applyLimits(); err != nil {
		return err
	}
	for _, f := range []struct{ name, v string }{
		{"token_url", p.TokenURL},
		{"auth_url", p.AuthURL},
		{"device_auth_url", p.DeviceAuthURL},
		{"issuer", p.Issuer},
		{"iam_credentials_url", p.IAMCredentialsURL},
	} {
		if err := checkURL(f.name, f.v); err != nil {
			return err
		}
	}
	if err := p.checkGrant(); err != nil {
		return err
	}
	var err error
	if p.client, err = p.newClient(ctx); err != nil {
		return err
	}
	return nil
}

func (p *Provider) applyLimits() error {
	if p.Timeout == 0 {
		p.Timeout = caddy.Duration(30 * time.Second)
	}
	if p.MaxAttempts == 0 {
		p.MaxAttempts = 3
	}
	if p.MaxParallel == 0 {
		p.MaxParallel = 32
	}
	if p.MaxPerSecond == 0 {
		p.MaxPerSecond = 100
	}
	for _, f := range []struct {
		name string
		bad  bool
	}{
		{"timeout", p.Timeout < 0},
		{"max_attempts", p.MaxAttempts < 0},
		{"max_parallel", p.MaxParallel < 0},
		{"max_per_second", p.MaxPerSecond < 0},
	} {
		if f.bad {
			return fmt.Errorf("%s must not be negative", f.name)
		}
	}
	if p.SecretExpires != "" {
		var err error
		if p.secretEnd, err = time.Parse(time.RFC3339, p.SecretExpires); err != nil {
			if p.secretEnd, err = time.Parse(time.DateOnly, p.SecretExpires); err != nil {
				return fmt.Errorf("secret_expires: %w", form.Date.Check(p.SecretExpires))
			}
		}
	}
	return nil
}

// checkGrant holds the fields against the grant and reads key files.
func (p *Provider) checkGrant() error {
	if p.Grant == GrantExternal {
		if p.ExternalTokenFile == "" {
			return errors.New("grant 'external' needs external_token_file")
		}
		return nil
	}
	if p.Grant == GrantServiceAccount {
		return p.checkServiceAccount()
	}
	if p.ServiceAccountFile != "" || p.ServiceAccount != "" {
		return fmt.Errorf("service_account and service_account_file need grant 'service_account', not '%s'", p.Grant)
	}
	if p.TokenURL == "" && p.Issuer == "" {
		return errors.New("token_url or issuer is needed")
	}
	if p.ClientID == "" {
		return errors.New("client_id is needed")
	}
	n := 0
	for _, s := range []string{p.ClientSecret, p.ClientCertificate, p.FederatedTokenFile} {
		if s != "" {
			n++
		}
	}
	if n > 1 {
		return errors.New("only one of client_secret, client_certificate and federated_token_file can be used")
	}
	if p.Grant == grantClientCredentials && n == 0 {
		return errors.New("grant 'client_credentials' needs client_secret, client_certificate or federated_token_file")
	}
	if p.ClientCertificate == "" && (p.ClientKey != "" || p.ClientCertificatePassword != "") {
		return errors.New("client_key and client_certificate_password need client_certificate")
	}
	switch p.ClientAuth {
	case "", "post":
	case "basic":
		if p.ClientSecret == "" {
			return errors.New("client_auth 'basic' needs client_secret")
		}
	default:
		return fmt.Errorf("client_auth: %w", form.OneOf("post", "basic").Check(p.ClientAuth))
	}
	if p.ClientCertificate != "" {
		var err error
		if p.cert, err = loadCertificate(p.ClientCertificate, p.ClientKey, p.ClientCertificatePassword); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) checkServiceAccount() error {
	if (p.ServiceAccountFile == "") == (p.ServiceAccount == "") {
		return errors.New("grant 'service_account' needs service_account_file, or service_account and external_token_file")
	}
	if p.ServiceAccount != "" {
		if p.ExternalTokenFile == "" {
			return errors.New("service_account needs external_token_file")
		}
		if p.IAMCredentialsURL == "" {
			p.IAMCredentialsURL = "https://iamcredentials.googleapis.com"
		}
		p.sa = &assertion.ServiceAccount{Email: p.ServiceAccount}
	} else {
		var err error
		if p.sa, err = loadServiceAccount(p.ServiceAccountFile); err != nil {
			return fmt.Errorf("service_account_file: %w", err)
		}
	}
	if p.TokenURL == "" && p.Issuer == "" {
		p.TokenURL = p.sa.TokenURI
		if err := checkURL("service_account_file: token_uri", p.TokenURL); err != nil {
			return err
		}
	}
	if p.TokenURL == "" && p.Issuer == "" {
		return errors.New("token_url or issuer is needed")
	}
	return nil
}

// identity is the key of the provider's manager. A change of anything in it
// makes the tokens other tokens; secrets and tunables are not in it.
func (p *Provider) Key() string {
	email := ""
	if p.sa != nil {
		email = p.sa.Email
	}
	b, _ := json.Marshal([]any{
		p.name, p.Kind, p.Grant, p.TokenURL, p.Issuer, p.ClientID, p.Tenant, p.Cloud, p.Scopes,
		email, p.ExternalTokenFile,
	})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Use has the provider reckon with a clock that outlives its configuration,
// and ask who has consented for a mailbox before.
func (p *Provider) Use(clock *Clock, owner func(mailbox string) *Identity) {
	p.clock, p.owner = clock, owner
}

// Logger is the provider's.
func (p *Provider) Logger() *zap.Logger { return p.logger }

// MicrosoftCloud is the cloud of the endpoints; empty if they are not Microsoft's.
func (p *Provider) MicrosoftCloud() string {
	if p == nil || p.Kind != "microsoft" || p.ownServer {
		return ""
	}
	return p.Cloud
}

// Rotates reports whether a refresh may bring another refresh token.
func (p *Provider) Rotates() bool { return !p.kind.static || p.ownServer }

// IdleDays is after how many days without use a refresh token lapses; 0 if it
// does not.
func (p *Provider) IdleDays() int { return p.kind.idleDays }

// UsesStore reports whether there is a refresh token to keep.
func (p *Provider) UsesStore() bool { return p.Grant == GrantRefreshToken }

// SetTransport has requests go through t, for a caller whose network is another
// than the machine's.
func (p *Provider) SetTransport(t http.RoundTripper) { p.client.Transport = t }

// CloseIdleConnections closes the connections to the server that are not in use.
func (p *Provider) CloseIdleConnections() { p.client.CloseIdleConnections() }
