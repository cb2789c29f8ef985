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

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/transports/gmail"
)

// parseGmail reads the transport gmail. Syntax:
//
//	transport gmail [<provider>] {
//		endpoint               <url>
//		userinfo_url           <url>
//		trust_pool             <module> ...
//		scopes                 <scope>...
//		domain_wide
//		max_size               <size>
//		max_recipients         <number>
//		rewrite
//		null_sender
//		ledger                 <upstream>
//		max_conns_per_account  <number>
//		rate_per_account       <count>/<period>
//		messages_per_account   <count>/<period>
//		recipients_per_account <count>/<period>
//		max_wait               <duration>
//		timeout                <duration>
//	}
func parseGmail(d *caddyfile.Dispenser) (json.RawMessage, error) {
	t := new(gmail.Transport)
	if args := d.RemainingArgs(); len(args) > 1 {
		return nil, malformed(d, "upstream", "transport", unexpectedArg(args[1]))
	} else if len(args) == 1 {
		if t.Provider = args[0]; t.Provider == "" {
			return nil, malformed(d, "upstream", "transport", errors.New("the provider's name is empty"))
		}
	}
	err := parseBlock(d, "gmail", options{
		"endpoint":               word(&t.Endpoint, form.URL),
		"userinfo_url":           word(&t.UserinfoURL, form.URL),
		"trust_pool":             module("gmail", "trust_pool", &t.TrustPoolRaw, "tls.ca_pool.source", "provider"),
		"scopes":                 list(&t.Scopes),
		"domain_wide":            boolean(&t.DomainWide),
		"max_size":               size(&t.MaxSize),
		"max_recipients":         integer(&t.MaxRecipients),
		"rewrite":                boolean(&t.Rewrite),
		"null_sender":            boolean(&t.NullSender),
		"ledger":                 text(&t.Ledger),
		"max_conns_per_account":  integer(&t.MaxConnsPerAccount),
		"rate_per_account":       rate(&t.RatePerAccount),
		"messages_per_account":   rate(&t.MessagesPerAccount),
		"recipients_per_account": rate(&t.RecipientsPerAccount),
		"max_wait":               duration(&t.MaxWait),
		"timeout":                duration(&t.Timeout),
	})
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(t, "transport", "gmail", nil), nil
}
