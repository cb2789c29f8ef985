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
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/spool"
)

// parseSpool reads the transport spool. Syntax:
//
//	transport spool <upstream> {
//		always
//		max_wait       <duration>
//		directory      <path>
//		encryption_key <key>...
//		give_up_after  <duration>
//		warn_after     <duration>
//		max_messages   <number>
//		max_size       <size>
//		min_free       <percent>
//		reports        <address>
//		hostname       <name>
//		peer           <upstream>
//	}
func parseSpool(d *caddyfile.Dispenser) (json.RawMessage, error) {
	t := new(spool.Transport)
	switch args := d.RemainingArgs(); len(args) {
	case 0:
		return nil, malformed(d, "upstream", "transport", errors.New("spool needs the name of the upstream to send through"))
	case 1:
		t.Upstream = args[0]
	default:
		return nil, malformed(d, "upstream", "transport", unexpectedArg(args[1]))
	}
	if err := parseBlock(d, "spool", spoolOptions(t)); err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(t, "transport", "spool", nil), nil
}

// spoolOptions are those of both kinds of spool.
func spoolOptions(t *spool.Transport) options {
	return options{
		"always":         boolean(&t.AlwaysKeep),
		"max_wait":       duration(&t.MaxWait),
		"directory":      text(&t.Directory),
		"encryption_key": list(&t.EncryptionKeys),
		"give_up_after":  duration(&t.GiveUpAfter),
		"warn_after":     duration(&t.WarnAfter),
		"max_messages":   integer(&t.MaxMessages),
		"max_size":       size(&t.MaxSize),
		"min_free":       number(&t.MinFree),
		"reports":        word(&t.Reports, form.Mailbox),
		"hostname":       word(&t.Hostname, form.Hostname),
		"peer":           text(&t.Peer),
	}
}

// parseOwnSpool reads the spool of servers and accounts that say `spool`. It has
// the options of the transport but for the upstream, which is each account's own,
// and `always`, which is theirs to say. Syntax:
//
//	spool {
//		...
//	}
func parseOwnSpool(d *caddyfile.Dispenser) (json.RawMessage, error) {
	if args := d.RemainingArgs(); len(args) > 0 {
		return nil, malformed(d, "smtp_upstreams", "spool", fmt.Errorf("unexpected argument '%s': a spool in front of one upstream is `upstream NAME { transport spool %s }`", args[0], args[0]))
	}
	t := new(spool.Transport)
	opts := spoolOptions(t)
	delete(opts, "always")
	if err := parseBlock(d, "spool", opts); err != nil {
		return nil, err
	}
	return caddyconfig.JSON(t, nil), nil
}

// spoolWords are what else one would write.
var spoolWords = map[string]string{"yes": "on", "true": "on", "no": "off", "false": "off", "none": "off"}

// spoolMode is what a server or an account says of the spool. Syntax:
//
//	spool [on|always|off]
func spoolMode(what string, mode *string) option {
	return option{
		nested: func(d *caddyfile.Dispenser) error {
			switch args := d.RemainingArgs(); len(args) {
			case 0:
				*mode = accounts.SpoolOn
			case 1:
				if err := form.Words(spoolWords, accounts.SpoolOn, accounts.SpoolAlways, accounts.SpoolOff).Check(args[0]); err != nil {
					return malformed(d, what, "spool", err)
				}
				*mode = args[0]
			default:
				return malformed(d, what, "spool", unexpectedArg(args[1]))
			}
			return nil
		},
	}
}
