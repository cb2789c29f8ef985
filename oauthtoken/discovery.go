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

package oauthtoken

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// endpoints are where the provider's requests go.
type endpoints struct {
	token, auth, device, issuer string
	// keys is where the keys of ID tokens are.
	keys string
	// basic says that the client secret goes into the Authorization header.
	basic bool
	// pss says that the server takes no RS256 in assertions.
	pss bool
	// issResponse says that authorization responses carry `iss` (RFC 9207).
	issResponse bool
}

// discovery fetches an issuer's document at the first use and keeps it
// (OpenID Connect Discovery 1.0 section 4, RFC 8414).
type discovery struct {
	lock chan struct{} // holds one; a mutex would not honour contexts
	got  *endpoints
	at   time.Time
}

// rediscover is how long a document is good for.
const rediscover = 24 * time.Hour

// needsDiscovery reports whether the configuration leaves something open.
func (p *Provider) needsDiscovery() bool {
	return p.Issuer != "" && p.TokenURL == ""
}

func (p *Provider) configured() *endpoints {
	return &endpoints{token: p.TokenURL, auth: p.AuthURL, device: p.DeviceAuthURL, issuer: p.Issuer, basic: p.ClientAuth == "basic"}
}

// endpoints returns the provider's endpoints, discovering them if needed.
func (p *Provider) endpoints(ctx context.Context) (*endpoints, *Error) {
	if !p.needsDiscovery() {
		return p.configured(), nil
	}
	return p.discoverCached(ctx)
}

func (p *Provider) discoverCached(ctx context.Context) (*endpoints, *Error) {
	d := &p.discovery
	select {
	case d.lock <- struct{}{}:
		defer func() { <-d.lock }()
	case <-ctx.Done():
		return nil, &Error{Description: "waiting for the discovery document: " + ctx.Err().Error(), err: ctx.Err()}
	}
	if d.got != nil && time.Since(d.at) < rediscover {
		return d.got, nil
	}
	ep, err := p.discover(ctx)
	if err != nil {
		if d.got != nil {
			return d.got, nil
		}
		return nil, err
	}
	d.got, d.at = ep, time.Now()
	return ep, nil
}

func (p *Provider) discover(ctx context.Context) (*endpoints, *Error) {
	u := strings.TrimSuffix(p.Issuer, "/") + "/.well-known/openid-configuration"
	status, body, err := p.get(ctx, u)
	if err != nil {
		return nil, err
	}
	ep, derr := parseDiscovery(p.Issuer, body)
	if status != 200 || derr != "" {
		if status != 200 {
			derr = "no discovery document"
		}
		class := classify(status, "", "")
		return nil, &Error{Status: status, Description: "issuer: " + derr, class: class}
	}
	c := p.configured()
	if c.token != "" {
		ep.token = c.token
	}
	if c.auth != "" {
		ep.auth = c.auth
	}
	if c.device != "" {
		ep.device = c.device
	}
	if p.ClientAuth != "" {
		ep.basic = c.basic
	}
	return ep, nil
}

func parseDiscovery(issuer string, body []byte) (*endpoints, string) {
	var d struct {
		Issuer  string   `json:"issuer"`
		Token   string   `json:"token_endpoint"`
		Auth    string   `json:"authorization_endpoint"`
		Device  string   `json:"device_authorization_endpoint"`
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Algs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
		Iss     bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if json.Unmarshal(body, &d) != nil {
		return nil, "the discovery document is not JSON"
	}
	// Section 4.3: it must be the same, or somebody else's document is
	// taken for the issuer's.
	if strings.TrimSuffix(d.Issuer, "/") != strings.TrimSuffix(issuer, "/") {
		return nil, "the discovery document names another issuer"
	}
	if d.Token == "" {
		return nil, "the discovery document names no token endpoint"
	}
	for _, u := range []string{d.Token, d.Auth, d.Device, d.Keys} {
		if err := checkURL("discovery document", u); err != nil {
			return nil, err.Error()
		}
	}
	return &endpoints{
		token: d.Token, auth: d.Auth, device: d.Device, keys: d.Keys, issuer: d.Issuer, issResponse: d.Iss,
		pss: slices.Contains(d.Algs, "PS256") && !slices.Contains(d.Algs, "RS256"),
		// Without the member the default is client_secret_basic alone.
		basic: !slices.Contains(d.Methods, "client_secret_post"),
	}, ""
}
