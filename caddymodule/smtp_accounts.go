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

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/dynamic"
	"github.com/caddymail/mailgateway/internal/form"
)

// parseAccounts reads the sources of accounts, in their order. Syntax:
//
//	accounts {
//		account <name> {
//			...
//		}
//		file <path>
//		dynamic {
//			encryption_key <keys...>
//		}
//		<module> ...
//	}
//
// The accounts that follow one another are one inline source.
func parseAccounts(d *caddyfile.Dispenser, sources *[]json.RawMessage) error {
	const what = "accounts"
	if args := d.RemainingArgs(); len(args) > 0 {
		return malformed(d, "smtp", what, unexpectedArg(args[0]))
	}

	var inline []accounts.Record
	names, hasDynamic, err := earlierSources(*sources)
	if err != nil {
		return d.Errf("parsing existing accounts: %v", err)
	}
	flush := func() {
		if len(inline) > 0 {
			*sources = append(*sources, source("inline", &accounts.InlineSource{Accounts: inline}))
			inline = nil
		}
	}

	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); name {
		case "account":
			args, err := parseNamed(d, what, "account", 0, func(name string) bool { return names[name] })
			if err != nil {
				return err
			}
			if err := checkAccountName(args[0]); err != nil {
				return malformed(d, what, "account", err)
			}
			names[args[0]] = true
			line := d.Line()
			rec := accounts.Record{Name: args[0]}
			if err := parseBlock(d, "account", accountOptions(&rec)); err != nil {
				return err
			}
			if err := checkAccount(&rec); err != nil {
				return malformedAt(d, line, what, "account", err)
			}
			inline = append(inline, rec)

		case "file":
			flush()
			args := d.RemainingArgs()
			if len(args) == 0 {
				return malformed(d, what, name, errors.New("a path is missing"))
			}
			if len(args) > 1 {
				return malformed(d, what, name, unexpectedArg(args[1]))
			}
			if d.NextBlock(nesting + 1) {
				return malformed(d, what, name, errors.New("blocks are not supported"))
			}
			*sources = append(*sources, source(name, &accounts.FileSource{Path: args[0]}))

		case "dynamic":
			if hasDynamic {
				return d.Errf("duplicate %s option '%s'", what, name)
			}
			hasDynamic = true
			flush()
			if args := d.RemainingArgs(); len(args) > 0 {
				return malformed(d, what, name, unexpectedArg(args[0]))
			}
			var keys []string
			if err := parseBlock(d, name, options{"encryption_key": list(&keys)}); err != nil {
				return err
			}
			*sources = append(*sources, source(name, &dynamic.Source{EncryptionKeys: keys}))

		default:
			// Another source, which reads its own words.
			if _, err := caddy.GetModule("smtp.accounts." + name); err != nil {
				return unrecognized(d, what, name, accountSources())
			}
			flush()
			raw, err := parseModule(d, "smtp", what, "smtp.accounts", "source")
			if err != nil {
				return err
			}
			*sources = append(*sources, raw)
		}
	}
	flush()
	return nil
}

// earlierSources are the inline accounts of sources, and whether one of the
// sources is dynamic.
func earlierSources(sources []json.RawMessage) (names map[string]bool, hasDynamic bool, err error) {
	names = make(map[string]bool)
	for _, raw := range sources {
		var s struct {
			Source   string
			Accounts []struct{ Name string }
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, false, err
		}
		hasDynamic = hasDynamic || s.Source == "dynamic"
		for _, a := range s.Accounts {
			names[a.Name] = true
		}
	}
	return names, hasDynamic, nil
}

// source is the JSON of an account source.
func source(name string, module any) json.RawMessage {
	return caddyconfig.JSONModuleObject(module, "source", name, nil)
}

// accountOptions are those of one account. Syntax:
//
//	account <name> {
//		upstream      <name>
//		mailbox       <address>
//		password_hash <hashes...>
//		refresh_token <token>
//		secret        <password>
//		senders       <patterns...>
//		limits {
//			max_conns  <number>
//			rate       <count>/<period>
//			messages   <count>/<period>
//			recipients <count>/<period>
//		}
//		source_ip     <address>
//		spool         [on|always|off]
//		reports       <address>
//		paused
//		label         <key> <value>
//	}
func accountOptions(rec *accounts.Record) options {
	return options{
		"upstream":      text(&rec.Upstream).like("NAME"),
		"mailbox":       text(&rec.Mailbox).like("scanner@example.com"),
		"password_hash": checked(list(&rec.PasswordHashes), checkHash),
		"refresh_token": secret(&rec.RefreshToken),
		"secret":        secret(&rec.Secret),
		"senders":       checked(list(&rec.Senders), accounts.CheckSender),
		"limits": {
			nested: func(d *caddyfile.Dispenser) error {
				if args := d.RemainingArgs(); len(args) > 0 {
					return malformed(d, "account", "limits", unexpectedArg(args[0]))
				}
				rec.Limits = new(accounts.Limits)
				return parseBlock(d, "limits", limitsOptions(rec.Limits))
			},
		},
		"source_ip": word(&rec.SourceIP, form.IP),
		"spool":     spoolMode("account", &rec.Spool),
		"reports":   word(&rec.Reports, form.Mailbox),
		"paused":    boolean(&rec.Paused),
		"label":     pair(&rec.Labels),
	}
}

// limitsOptions are those of an account's limits; see accountOptions.
func limitsOptions(l *accounts.Limits) options {
	return options{
		"max_conns":  integer(&l.MaxConns),
		"rate":       rate(&l.Rate),
		"messages":   rate(&l.Messages),
		"recipients": rate(&l.Recipients),
	}
}
