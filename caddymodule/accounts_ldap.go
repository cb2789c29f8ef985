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
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/ldap"
)

func init() {
	caddy.RegisterModule(LDAPAccounts{})
}

// LDAPAccounts reads accounts from an operator's directory.
type LDAPAccounts struct {
	ldap.Source
}

// CaddyModule returns the Caddy module information.
func (LDAPAccounts) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp.accounts.ldap",
		New: func() caddy.Module { return new(LDAPAccounts) },
	}
}

// UnmarshalCaddyfile reads the source. Syntax:
//
//	ldap [<url>...] {
//		server             <url>...
//		starttls
//		insecure_plaintext
//		trust_pool         <module> ...
//		bind_dn            <dn>
//		bind_password      <password>
//		base               <dn>
//		scope              sub|one
//		filter             <filter>
//		user_dn            <dn>
//		group_base         <dn>
//		group_filter       <filter>
//		attribute          <field> <attribute>
//		changed            <attribute>...
//		upstream           <name>
//		max_conns          <n>
//		timeout            <duration>
//		remember           <duration>
//		cache_size         <n>
//		fresh              <duration>
//		stale              <duration>
//		negative           <duration>
//	}
func (s *LDAPAccounts) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	s.Servers = d.RemainingArgs()
	return parseBlock(d, "accounts ldap", options{
		"server":             list(&s.Servers),
		"starttls":           boolean(&s.StartTLS),
		"insecure_plaintext": boolean(&s.InsecurePlaintext),
		"trust_pool":         module("accounts ldap", "trust_pool", &s.TrustPoolRaw, "tls.ca_pool.source", "provider"),
		"bind_dn":            text(&s.BindDN),
		"bind_password":      text(&s.BindPassword),
		"base":               text(&s.Base),
		"scope":              text(&s.Scope),
		"filter":             text(&s.Filter),
		"user_dn":            text(&s.UserDN),
		"group_base":         text(&s.GroupBase),
		"group_filter":       text(&s.GroupFilter),
		"attribute":          pairs(&s.Attributes),
		"changed":            list(&s.Changed),
		"upstream":           text(&s.Upstream),
		"max_conns":          integer(&s.MaxConns),
		"timeout":            duration(&s.Timeout),
		"remember":           duration(&s.Remember),
		"cache_size":         integer(&s.CacheSize),
		"fresh":              duration(&s.Fresh),
		"stale":              duration(&s.Stale),
		"negative":           duration(&s.Negative),
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LDAPAccounts)(nil)
	_ caddy.CleanerUpper    = (*LDAPAccounts)(nil)
	_ caddyfile.Unmarshaler = (*LDAPAccounts)(nil)
	_ accounts.Source       = (*LDAPAccounts)(nil)
	_ accounts.Loader       = (*LDAPAccounts)(nil)
	_ accounts.Reloader     = (*LDAPAccounts)(nil)
)
