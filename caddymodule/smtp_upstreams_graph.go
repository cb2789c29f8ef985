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
	"github.com/caddymail/mailgateway/internal/mscloud"
	"github.com/caddymail/mailgateway/transports/graph"
)

// cloud reports what is wrong with the name of a Microsoft cloud.
func cloud(arg string) error {
	_, err := mscloud.Find(arg)
	return err
}

// ownTransports read the blocks of our transports beside smtp.
var ownTransports = map[string]func(d *caddyfile.Dispenser) (json.RawMessage, error){
	"choice": parseChoice,
	"gmail":  parseGmail,
	"graph":  parseGraph,
	"spool":  parseSpool,
}

// parseGraph reads the transport graph. Syntax:
//
//	transport graph [<provider>] {
//		cloud                  public|usgov|usdod|china
//		endpoint               <url>
//		trust_pool             <module> ...
//		scopes                 <scope>...
//		app_only
//		user                   mailbox|me
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
func parseGraph(d *caddyfile.Dispenser) (json.RawMessage, error) {
	t := new(graph.Transport)
	if args := d.RemainingArgs(); len(args) > 1 {
		return nil, malformed(d, "upstream", "transport", unexpectedArg(args[1]))
	} else if len(args) == 1 {
		if t.Provider = args[0]; t.Provider == "" {
			return nil, malformed(d, "upstream", "transport", errors.New("the provider's name is empty"))
		}
	}
	err := parseBlock(d, "graph", options{
		"cloud":                  checked(text(&t.Cloud), cloud).like("usgov"),
		"endpoint":               word(&t.Endpoint, form.URL),
		"trust_pool":             module("graph", "trust_pool", &t.TrustPoolRaw, "tls.ca_pool.source", "provider"),
		"scopes":                 list(&t.Scopes),
		"app_only":               boolean(&t.AppOnly),
		"user":                   text(&t.User),
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
	return caddyconfig.JSONModuleObject(t, "transport", "graph", nil), nil
}
