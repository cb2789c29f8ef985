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

package wording

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// Globals are the gateway's global options, and Pages its directives of sites.
var (
	Globals = []string{"oauth_tokens", "smtp", "smtp_sandbox", "smtp_upstreams"}
	Pages   = []string{"smtp_connect", "smtp_console", "smtp_status"}
)

// others are what options are called elsewhere, by block, with what stands
// in their place here.
var others = map[string]map[string]string{
	"account": {
		"password": invoked.Words("'password_hash', with what `caddy hash-password` prints"), "user": "'mailbox'", "username": "'mailbox'", "login": "'mailbox'",
		"email": "'mailbox'", "from": "'senders'", "sender": "'senders'", "token": "'refresh_token'",
		"rate": "'rate' in the block limits, as in 'limits { ... }'", "messages": "'messages' in the block limits", "recipients": "'recipients' in the block limits",
	},
	"server": {
		"listen": "an address behind the server's name, as in 'server submission :587'", "port": "an address behind the server's name, as in 'server submission :587'",
		"bind": "an address behind the server's name, as in 'server submission :587'", "ssl": "'tls implicit'", "starttls": "'tls starttls'",
		"cert": "'tls CERTIFICATE KEY'", "certificate": "'tls CERTIFICATE KEY'", "mynetworks": "'trust'", "allow": "'trust'", "timeout": "'command_timeout'",
		"max_size": "'max_message_size'", "size": "'max_message_size'",
	},
	"upstream": {
		"host": "'dial', as in 'dial smtp.example.com:587'", "server": "'dial', as in 'dial smtp.example.com:587'", "address": "'dial', as in 'dial smtp.example.com:587'",
		"smarthost": "'dial', as in 'dial smtp.example.com:587'", "port": "'dial', as in 'dial smtp.example.com:587'", "ssl": "'tls implicit'", "starttls": "'tls starttls'",
		"provider": "'auth xoauth2 PROVIDER'", "oauth": "'auth xoauth2 PROVIDER'", "oauth2": "'auth xoauth2 PROVIDER'", "rate": "'rate_per_account'", "proxy": "'network_proxy'",
	},
	"provider": {
		"secret": "'client_secret'", "id": "'client_id'", "app_id": "'client_id'", "application_id": "'client_id'", "tenant_id": "'tenant'",
		"directory_id": "'tenant'", "scope": "'scopes'", "certificate": "'client_certificate'",
	},
	"smtp": {
		"listen": "'server NAME :587'", "account": "'accounts { account NAME { ... } }'", "name": "'hostname'",
	},
	"smtp_upstreams": {"provider": "'provider' in the block oauth_tokens", "relay": "'upstream'", "smarthost": "'upstream'"},
}

// Other is what an option is called here that another program calls so; "" of
// words that none does.
func Other(what, name string) string { return others[what][strings.ToLower(name)] }

// OtherBlocks are what the global options are called by mistake.
var OtherBlocks = map[string]string{ //nolint:gosec // names of options
	"oauth": "oauth_tokens", "oauth_token": "oauth_tokens", "oauth2": "oauth_tokens", "tokens": "oauth_tokens", "providers": "oauth_tokens", "token_providers": "oauth_tokens",
	"upstreams": "smtp_upstreams", "smtp_upstream": "smtp_upstreams", "relays": "smtp_upstreams", "servers": "smtp", "mail": "smtp",
}

// Level says of a word that it stands at another level of the file; "" of words
// that do not. known reports whether the block has an option of a name.
func Level(what, name string, known func(block string) bool) string {
	switch block := cmp.Or(OtherBlocks[name], name); {
	case slices.Contains(Pages, name):
		return fmt.Sprintf("a page stands in a site behind the global block, as in 'gateway.example.com {' '%s' '}', each on a line of its own", name)
	case block == what, known(block):
		return ""
	case block == name && slices.Contains(Globals, name):
		return fmt.Sprintf("'%s' is an option of the global block: it stands beside the block %s, not in it", name, topOf(what))
	case slices.Contains(Globals, block):
		return fmt.Sprintf("did you mean the global option '%s'? It is a block of its own in the global block, beside the one of %s", block, topOf(what))
	}
	return ""
}

// topOf is the global option that a block stands in.
func topOf(what string) string {
	switch what {
	case "oauth_tokens", "provider", "store":
		return "oauth_tokens"
	case "smtp_upstreams", "upstream", "graph", "gmail", "choice", "spool", "auth":
		return "smtp_upstreams"
	}
	return "smtp"
}

// ServerName refuses an address where the name of a server stands.
func ServerName(name string) error {
	_, err := strconv.ParseUint(name, 10, 32)
	if err == nil || strings.Contains(name, ":") {
		return fmt.Errorf("a name is missing before the address '%s', as in 'server submission %s'", name, name)
	}
	return nil
}

// otherPresets are names that providers go by.
var otherPresets = map[string]string{
	"office365": "microsoft365", "o365": "microsoft365", "m365": "microsoft365", "exchange": "microsoft365", "exchange_online": "microsoft365", "microsoft": "microsoft365",
	"google": "gmail", "googlemail": "gmail", "gsuite": "gmail", "workspace": "gmail", "hotmail": "outlook", "live": "outlook", "msn": "outlook", "amazon": "ses", "aws": "ses",
}

// Preset is the hint for the name of a preset that is none.
func Preset(name string, presets []string) string {
	if p := otherPresets[strings.ToLower(name)]; slices.Contains(presets, p) {
		return "; did you mean '" + p + "'?"
	}
	return nearest.Hint(name, presets)
}

// otherKinds are names that kinds of providers go by.
var otherKinds = map[string]string{
	"azure": "microsoft", "entra": "microsoft", "office365": "microsoft", "o365": "microsoft", "m365": "microsoft", "microsoft365": "microsoft",
	"gmail": "google", "gsuite": "google", "workspace": "google",
}

// Kind refuses the kind of a provider that is none.
func Kind(kind string) error {
	if strings.Contains(kind, "{") {
		return nil
	}
	err := form.Words(otherKinds, authserver.Kinds()...).Check(kind)
	if err == nil || strings.Contains(err.Error(), "did you mean") {
		return err
	}
	return fmt.Errorf("%w, behind the provider's name", err)
}

// MistypedKind finds a provider whose name was meant to be a kind: without one
// it would lack its addresses later on.
func MistypedKind(name string, p *authserver.Provider) error {
	kinds := authserver.Kinds()
	if p.Kind != "" || p.Issuer != "" || p.TokenURL != "" || p.Grant == authserver.GrantExternal || slices.Contains(kinds, name) {
		return nil
	}
	if kind := otherKinds[strings.ToLower(name)]; kind != "" {
		return fmt.Errorf("the kind is missing behind the name; did you mean 'provider %s %s'?", name, kind)
	}
	if hint := nearest.Hint(name, kinds); hint != "" {
		return fmt.Errorf("there is no kind '%s'%s A name of your own has the kind behind it, as in 'provider entra microsoft'", name, hint)
	}
	return nil
}

// Grants are how a provider gives tokens.
var Grants = form.Words(map[string]string{
	"app_only": "client_credentials", "application": "client_credentials", "daemon": "client_credentials", "authorization_code": "refresh_token", "code": "refresh_token", "delegated": "refresh_token",
}, "refresh_token", "client_credentials", "service_account", "external")
