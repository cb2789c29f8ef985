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
	"encoding/json"
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/oauthtoken/tokenstore"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("oauth_tokens", parseApp("oauth_tokens", oauthTokensOptions))
}

// oauthTokensOptions are those of the global option. Syntax:
//
//	oauth_tokens {
//		refresh_ahead <duration>
//		keep_alive    <duration>|off
//		store storage {
//			encryption_key <keys...>
//		}
//		provider <name> [<kind>] {
//			...
//		}
//	}
//
// Several blocks are combined.
func oauthTokensOptions(app *oauthtoken.App) options {
	const what = "oauth_tokens"
	return options{
		"refresh_ahead": duration(&app.RefreshAhead),
		"keep_alive":    durationOrOff(&app.KeepAlive),
		"store": {
			isSet: func() bool { return len(app.StoreRaw) > 0 },
			nested: func(d *caddyfile.Dispenser) (err error) {
				app.StoreRaw, err = parseTokenStore(d)
				return err
			},
		},
		"provider": {
			many: true,
			nested: func(d *caddyfile.Dispenser) error {
				args, err := parseNamed(d, what, "provider", 1, func(name string) bool {
					_, ok := app.Providers[name]
					return ok
				})
				if err != nil {
					return err
				}
				p := new(authserver.Provider)
				if len(args) > 1 {
					p.Kind = args[1]
					if err := wording.Kind(p.Kind); err != nil {
						return malformed(d, what, "provider", err)
					}
				}
				line := d.Line()
				if err := parseBlock(d, "provider", providerOptions(p)); err != nil {
					return err
				}
				if err := wording.MistypedKind(args[0], p); err != nil {
					return malformedAt(d, line, what, "provider", err)
				}
				if p.ClientID == "" && p.Kind == "microsoft" && p.Grant != authserver.GrantExternal {
					return malformedAt(d, line, what, "provider", errors.New("option 'client_id' is missing: the application's ID, as its registration shows it"))
				}
				if app.Providers == nil {
					app.Providers = make(map[string]*authserver.Provider)
				}
				app.Providers[args[0]] = p
				return nil
			},
		},
	}
}

// parseTokenStore reads the store. `storage` is known here; any other store is
// a module that reads its own words. Syntax:
//
//	store storage {
//		encryption_key <keys...>
//	}
//
// The first key seals, all of them open.
func parseTokenStore(d *caddyfile.Dispenser) (json.RawMessage, error) {
	const what = "oauth_tokens"
	if !d.NextArg() {
		return nil, malformed(d, what, "store", errors.New("a module's name is missing"))
	}
	if d.Val() != "storage" {
		return parseModule(d, what, "store", "oauth_tokens.stores", "store")
	}
	if args := d.RemainingArgs(); len(args) > 0 {
		return nil, malformed(d, what, "store", unexpectedArg(args[0]))
	}
	store := new(tokenstore.StorageStore)
	if err := parseBlock(d, "store", options{
		"encryption_key": list(&store.EncryptionKeys),
	}); err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(store, "store", "storage", nil), nil
}

// providerOptions are those of one provider. Syntax:
//
//	provider <name> [<kind>] {
//		tenant                      <tenant>
//		cloud                       public|usgov|usdod|china
//		issuer                      <url>
//		token_url                   <url>
//		auth_url                    <url>
//		device_auth_url             <url>
//		scopes                      <scopes...>
//		client_id                   <id>
//		client_secret               <secret>
//		client_auth                 post|basic
//		client_certificate          <file> [<key_file>]
//		client_certificate_password <password>
//		federated_token_file        <file>
//		service_account_file        <file>
//		service_account             <address>
//		iam_credentials_url         <url>
//		external_token_file         <file>
//		secret_expires              <date>
//		grant                       refresh_token|client_credentials|service_account|external
//		trust_pool                  <module> ...
//		network_proxy               <module> ...
//		timeout                     <duration>
//		max_attempts                <number>
//		max_parallel                <number>
//		max_per_second              <number>
//	}
//
// The kind is google, microsoft, yahoo, aol, fastmail or generic; a provider whose
// name is a kind need not repeat it.
func providerOptions(p *authserver.Provider) options {
	const what = "provider"
	return options{
		"tenant":          word(&p.Tenant, form.Tenant),
		"cloud":           checked(text(&p.Cloud), cloud).like("usgov"),
		"issuer":          word(&p.Issuer, form.URL),
		"token_url":       word(&p.TokenURL, form.URL),
		"auth_url":        word(&p.AuthURL, form.URL),
		"device_auth_url": word(&p.DeviceAuthURL, form.URL),
		"scopes":          list(&p.Scopes),
		"client_id":       word(&p.ClientID, form.ClientID),
		"client_secret":   secret(&p.ClientSecret),
		"client_auth":     word(&p.ClientAuth, form.OneOf("post", "basic")),
		"client_certificate": {
			args: func(args []string) error {
				switch len(args) {
				case 0:
					return errors.New("a file is missing")
				case 1:
					p.ClientCertificate = args[0]
				case 2:
					p.ClientCertificate, p.ClientKey = args[0], args[1]
				default:
					return unexpectedArg(args[2])
				}
				return nil
			},
		},
		"client_certificate_password": secret(&p.ClientCertificatePassword),
		"federated_token_file":        text(&p.FederatedTokenFile),
		"service_account_file":        text(&p.ServiceAccountFile),
		"service_account":             text(&p.ServiceAccount),
		"iam_credentials_url":         word(&p.IAMCredentialsURL, form.URL),
		"external_token_file":         text(&p.ExternalTokenFile),
		"secret_expires":              word(&p.SecretExpires, form.Date),
		"grant":                       word(&p.Grant, wording.Grants, "_"),
		"trust_pool":                  module(what, "trust_pool", &p.CARaw, "tls.ca_pool.source", "provider"),
		"network_proxy":               module(what, "network_proxy", &p.NetworkProxyRaw, "caddy.network_proxy", "from"),
		"timeout":                     duration(&p.Timeout),
		"max_attempts":                integer(&p.MaxAttempts),
		"max_parallel":                integer(&p.MaxParallel),
		"max_per_second":              number(&p.MaxPerSecond),
	}
}
