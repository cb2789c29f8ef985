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
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
)

// Provider is one client registration at one authorization server.
type Provider struct {
	// Kind is `google`, `microsoft`, `yahoo`, `aol`, `fastmail` or `generic`: it
	// gives endpoints and scopes their defaults. Default: the provider's
	// name where that is a kind, else `generic`.
	Kind string `json:"kind,omitempty"`

	// Grant is how access tokens are obtained: `refresh_token`,
	// `client_credentials`, `service_account` (Google, JWT bearer) or
	// `external` (a token file somebody else keeps fresh). Default:
	// `refresh_token`.
	Grant string `json:"grant,omitempty"`

	// Tenant is the Microsoft tenant: a domain, an ID, `common`,
	// `organizations` or `consumers`; app-only grants need the first two.
	// Default: `common`.
	Tenant string `json:"tenant,omitempty"`

	// Cloud is the Microsoft cloud: `public` (GCC too), `usgov` (GCC High), `usdod`
	// or `china` (21Vianet). Default: `public`.
	Cloud string `json:"cloud,omitempty"`

	// Issuer is an OpenID Connect issuer URL; endpoints that are not
	// configured are discovered from it.
	Issuer string `json:"issuer,omitempty"`
	// TokenURL is the token endpoint (RFC 6749 section 3.2).
	TokenURL string `json:"token_url,omitempty"`
	// AuthURL is the authorization endpoint, for `caddy smtp login`.
	AuthURL string `json:"auth_url,omitempty"`
	// DeviceAuthURL is the device authorization endpoint (RFC 8628).
	DeviceAuthURL string `json:"device_auth_url,omitempty"`
	// Scopes are the scopes to ask for. Default: the kind's.
	Scopes []string `json:"scopes,omitempty"`

	// ClientID is the client identifier. Placeholders are resolved.
	ClientID string `json:"client_id,omitempty"`
	// ClientSecret is the client's secret. Placeholders are resolved.
	ClientSecret string `json:"client_secret,omitempty"`
	// ClientAuth is how the client secret travels: `post` (in the form) or
	// `basic` (in the Authorization header). Default: what the discovery
	// document offers, else `post`.
	ClientAuth string `json:"client_auth,omitempty"`
	// ClientCertificate is the path of a PEM (certificate and key) or
	// PKCS#12 file, for private_key_jwt (RFC 7523) in place of a secret. The
	// Assertion's audience is the issuer, where one is configured (OpenID
	// Connect Core section 9), else the token endpoint, as Microsoft and Okta
	// want it. RSA keys sign with PS256 for Microsoft and where discovery
	// offers that alone, else RS256; EC keys with the curve's own. The file is
	// read at each load of the configuration.
	ClientCertificate string `json:"client_certificate,omitempty"`
	// ClientKey is the path of the PEM key when it is not in the
	// certificate's file.
	ClientKey string `json:"client_key,omitempty"`
	// ClientCertificatePassword opens a PKCS#12 file.
	ClientCertificatePassword string `json:"client_certificate_password,omitempty"`
	// FederatedTokenFile is the path of a token of another issuer that
	// serves as client assertion (workload identity). It is read at each use.
	FederatedTokenFile string `json:"federated_token_file,omitempty"`
	// ServiceAccountFile is the path of a Google service account's JSON key.
	ServiceAccountFile string `json:"service_account_file,omitempty"`
	// ServiceAccount is the e-mail address of a Google service account that
	// signs without a key, through the IAM credentials API; ExternalTokenFile
	// then holds the access token for that API.
	ServiceAccount string `json:"service_account,omitempty"`
	// IAMCredentialsURL is the base URL of the IAM credentials API that signs
	// for ServiceAccount. Default: https://iamcredentials.googleapis.com.
	IAMCredentialsURL string `json:"iam_credentials_url,omitempty"`
	// ExternalTokenFile is the path of an access token that another
	// program keeps fresh. It is read at each use.
	ExternalTokenFile string `json:"external_token_file,omitempty"`
	// SecretExpires is when the client secret or certificate ends, RFC 3339
	// date; a warning comes 30 days ahead.
	SecretExpires string `json:"secret_expires,omitempty"`

	// CARaw is the trust pool for the provider's endpoints. Default: the system's.
	CARaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`
	// NetworkProxyRaw is the proxy for the provider's endpoints. Default:
	// from the environment.
	NetworkProxyRaw json.RawMessage `json:"network_proxy,omitempty" caddy:"namespace=caddy.network_proxy inline_key=from"`

	// Timeout bounds one request. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// MaxAttempts bounds the requests of one refresh. Default: 3.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// MaxParallel is the number of refreshes at a time. Default: 32.
	MaxParallel int `json:"max_parallel,omitempty"`
	// MaxPerSecond is the number of refreshes started per second. Default: 100.
	MaxPerSecond float64 `json:"max_per_second,omitempty"`

	providerState
}
