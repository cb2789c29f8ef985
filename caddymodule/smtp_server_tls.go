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

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddymail/mailgateway/smtpapp"
)

// serverTLSOptions are those of a server's `tls`; see parseServerTLS.
func serverTLSOptions(t *smtpapp.TLS) options {
	policy := func(d *caddyfile.Dispenser) error {
		cp := new(caddytls.ConnectionPolicy)
		if err := cp.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
			return malformed(d, "tls", "connection_policy", err)
		}
		t.ConnectionPolicies = append(t.ConnectionPolicies, cp)
		return nil
	}
	clientAuth := func(d *caddyfile.Dispenser) error {
		ca := new(caddytls.ClientAuthentication)
		if err := ca.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
			return malformed(d, "tls", "client_auth", err)
		}
		t.ConnectionPolicies = append(t.ConnectionPolicies, &caddytls.ConnectionPolicy{ClientAuthentication: ca})
		return nil
	}
	return options{
		"legacy":                   boolean(&t.Legacy),
		"client_auth":              {nested: clientAuth},
		"client_certificate_login": boolean(&t.ClientCertificateLogin),
		"connection_policy":        {nested: policy, many: true},
	}
}
