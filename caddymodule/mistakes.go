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
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool"
)

// unrecognized is the error for a word that is no option of a block: with what
// it was meant to be, where that can be told, and else with what there is.
func unrecognized(d *caddyfile.Dispenser, what, name string, names []string) error {
	return d.Errf("unrecognized %s option '%s'%s", what, name, meantOption(what, name, names))
}

func meantOption(what, name string, names []string) string {
	if hint := form.Mistyped(name); hint != "" {
		return "; " + hint
	}
	if word := strings.TrimSuffix(name, "{"); word != name && slices.Contains(names, word) {
		return fmt.Sprintf("; a blank is missing before the {: '%s {'", word)
	}
	if word, value, ok := cutAny(name, "=:"); ok && slices.Contains(names, word) {
		if value == "" {
			value = "VALUE"
		}
		return fmt.Sprintf("; between an option and its value stands a blank: '%s %s'", word, value)
	}
	if word := wording.Other(what, name); word != "" {
		return "; did you mean " + word + "?"
	}
	if home := wording.Level(what, name, func(block string) bool { _, ok := blocksOfOptions[what][block]; return ok }); home != "" {
		return "; " + home
	}
	if homes := homesOf(name); len(homes) > 0 && !slices.Contains(homes, what) {
		return "; it belongs into the block " + strings.Join(homes, " or ")
	}
	if hint := nearest.Hint(name, names); hint != "" {
		return hint
	}
	return "; the options here are " + strings.Join(names, ", ")
}

func cutAny(s, chars string) (before, after string, found bool) {
	i := strings.IndexAny(s, chars)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// blocksOfOptions are the options by the block that holds them, for a word
// that stands in another. Made at init, since blocks hold blocks.
var blocksOfOptions map[string]options

func init() {
	blocksOfOptions = map[string]options{
		"oauth_tokens": oauthTokensOptions(new(oauthtoken.App)), "provider": providerOptions(new(authserver.Provider)),
		"smtp_upstreams": smtpUpstreamsOptions(new(upstreamapp.App)), "upstream": upstreamOptions(new(upstreampool.SMTPTransport)),
		"smtp": smtpOptions(new(smtpapp.App)), "server": serverOptions(new(smtpapp.Server), new(bool)),
		"account":  accountOptions(new(accounts.Record)),
		"accounts": {"account": {}, "dynamic": {}, "file": {}},
	}
}

func homesOf(name string) []string {
	var homes []string
	for what, opts := range blocksOfOptions {
		if _, ok := opts[name]; ok {
			homes = append(homes, what)
		}
	}
	slices.Sort(homes)
	return homes
}

// listens and mechanism let placeholders through to where they are resolved.
func listens(address string) error { return literally(address, form.Listen) }
func mechanism(name string) error  { return literally(name, form.Mechanism) }

func literally(value string, f form.Form) error {
	if strings.Contains(value, "{") {
		return nil
	}
	return f.Check(value)
}

// checkAccount refuses what cannot be an account before its block is left.
func checkAccount(r *accounts.Record) error {
	if r.Upstream == "" {
		return errors.New("option 'upstream' is missing: the account's mail leaves by it, as in 'upstream NAME'")
	}
	return nil
}

// checkAccountName refuses the name of an account that no device could type.
func checkAccountName(name string) error {
	if strings.Contains(name, "{") {
		return nil
	}
	if err := accounts.CheckNewName(name); err != nil {
		return fmt.Errorf("'%s': %w", name, err)
	}
	return nil
}

// checkHash refuses a password in the place of its hash, and what is only a part of
// one. It does not quote a hash.
func checkHash(hash string) error {
	_, err := password.Parse(hash)
	if err != nil && hash[0] != '$' {
		return fmt.Errorf("%w; a password itself does not stand here", err)
	}
	return err
}

// accountSources are the words that begin a source of accounts.
func accountSources() []string {
	names := []string{"account"}
	for _, m := range caddy.GetModules("smtp.accounts") {
		if name := m.ID.Name(); name != "inline" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unknownModule says which names there are in a namespace, in place of Caddy's
// words for the missing one.
func unknownModule(namespace, name string) error {
	if _, err := caddy.GetModule(namespace + "." + name); err == nil {
		return nil
	}
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	slices.Sort(names)
	hint := nearest.Hint(name, names)
	if hint == "" && len(names) > 0 {
		hint = "; there are " + strings.Join(names, ", ")
	}
	return fmt.Errorf("there is no '%s'%s", name, hint)
}

// names returns the options' names in order.
func (o options) names() []string { return slices.Sorted(maps.Keys(o)) }
