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
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/upstreamapp"
	"github.com/caddymail/mailgateway/upstreampool"
	"github.com/caddymail/mailgateway/upstreampool/preset"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("smtp_upstreams", parseApp("smtp_upstreams", smtpUpstreamsOptions))
}

// smtpUpstreamsOptions are those of the global option. Syntax:
//
//	smtp_upstreams {
//		limits <kind> ...
//		spool {
//			...
//		}
//		upstream <name> [<preset>] {
//			transport <kind> {
//				...
//			}
//		}
//	}
//
// Several blocks are combined.
func smtpUpstreamsOptions(app *upstreamapp.App) options {
	const what = "smtp_upstreams"
	return options{
		"limits": {
			nested: func(d *caddyfile.Dispenser) (err error) {
				if !d.NextArg() {
					return malformed(d, what, "limits", errors.New("a kind is missing"))
				}
				app.LimitsRaw, err = parseModule(d, what, "limits", "smtp_upstreams.limits", "kind")
				return err
			},
		},
		"spool": {
			nested: func(d *caddyfile.Dispenser) (err error) {
				app.SpoolRaw, err = parseOwnSpool(d)
				return err
			},
		},
		"upstream": {
			many: true,
			nested: func(d *caddyfile.Dispenser) error {
				args, err := parseNamed(d, what, "upstream", 1, func(name string) bool {
					_, ok := app.UpstreamsRaw[name]
					return ok
				})
				if err != nil {
					return err
				}
				preset, line := "", d.Line()
				if len(args) > 1 {
					preset = args[1]
				}
				raw, err := parseUpstream(d, preset)
				if err != nil {
					return err
				}
				if err := mistypedPreset(args, raw); err != nil {
					return malformedAt(d, line, what, "upstream", err)
				}
				if app.UpstreamsRaw == nil {
					app.UpstreamsRaw = make(map[string]json.RawMessage)
				}
				app.UpstreamsRaw[args[0]] = raw
				return nil
			},
		},
	}
}

// mistypedPreset finds an upstream whose name, or second word, was meant to be a
// preset: later on it would only lack an address.
func mistypedPreset(args []string, raw json.RawMessage) error {
	var u struct {
		Transport, Dial string
	}
	if err := json.Unmarshal(raw, &u); err != nil || u.Transport != "" && u.Transport != "smtp" {
		return err
	}
	presets := preset.Names()
	name := args[len(args)-1]
	if slices.Contains(presets, name) || len(args) == 1 && u.Dial != "" {
		return nil
	}
	hint := wording.Preset(name, presets)
	if len(args) == 1 && hint == "" {
		return nil // it may be completed elsewhere, and lacks its address otherwise
	}
	if hint == "" {
		hint = "; there are " + strings.Join(presets, ", ")
	}
	return fmt.Errorf("there is no preset '%s'%s", name, hint)
}

// parseUpstream reads the block of one upstream. Its lines are options of the
// transport smtp, unless there is a line `transport`: then they stand in the
// block of that. Syntax:
//
//	upstream <name> [<preset>] {
//		transport  <kind> ...
//		transports <upstream>...
//	}
func parseUpstream(d *caddyfile.Dispenser, preset string) (json.RawMessage, error) {
	u := &upstreampool.SMTPTransport{Preset: preset}
	kind, outside := "", "" // of the line `transport`; an option of smtp without it
	var guest json.RawMessage
	opts := upstreamOptions(u)
	for name, opt := range opts {
		opts[name] = opt.noticed(func() { outside = cmp.Or(outside, name) })
	}
	opts["transport"] = option{
		nested: func(d *caddyfile.Dispenser) (err error) {
			if !d.NextArg() {
				return malformed(d, "upstream", "transport", errors.New("a kind is missing"))
			}
			kind = d.Val()
			if parse, ok := ownTransports[kind]; ok {
				guest, err = parse(d)
				return err
			}
			if kind != "smtp" {
				guest, err = parseModule(d, "upstream", "transport", "smtp_upstreams.transports", "transport")
				return err
			}
			if d.NextArg() {
				return malformed(d, "upstream", "transport", unexpectedArg(d.Val()))
			}
			return parseBlock(d, "upstream", upstreamOptions(u))
		},
	}
	opts["transports"] = option{
		nested: func(d *caddyfile.Dispenser) (err error) {
			kind = "choice"
			guest, err = parseChoice(d)
			return err
		},
	}
	if err := parseBlock(d, "upstream", opts); err != nil {
		return nil, err
	}
	switch {
	case kind != "" && outside != "":
		return nil, d.Errf("malformed upstream option '%s': it belongs into the block of transport smtp", outside)
	case guest != nil && preset != "":
		return nil, d.Errf("malformed smtp_upstreams option 'upstream': transport %s has no preset '%s'", kind, preset)
	case guest != nil:
		return guest, nil
	}
	return caddyconfig.JSONModuleObject(u, "transport", "smtp", nil), nil
}

// upstreamOptions are those of the transport smtp. Syntax:
//
//	upstream <name> [<preset>] {
//		dial                   <host:port>
//		tls starttls|implicit|off {
//			trust_pool  <module> ...
//			server_name <name>
//			client_certificate <file> <key file>
//		}
//		auth <mechanism> [<provider>] {
//			force
//		}
//		hostname               <name>
//		max_conns              <number>
//		max_conns_per_account  <number>
//		max_messages_per_conn  <number>
//		idle_timeout           <duration>
//		max_age                <duration>
//		max_wait               <duration>
//		max_waiting            <number>
//		rate_per_account       <count>/<period>
//		messages_per_account   <count>/<period>
//		recipients_per_account <count>/<period>
//		source_ip              <address>
//		network_proxy          <module> ...
//		dial_timeout           <duration>
//		command_timeout        <duration>
//		data_timeout           <duration>
//		framing                auto|data
//		submitter
//	}
//
// The preset is gmail, workspace_relay, microsoft365, outlook, yahoo, fastmail,
// zoho, hve, azure_communication, connector or ses; an upstream whose name is a preset need not repeat it.
func upstreamOptions(u *upstreampool.SMTPTransport) options {
	const what = "upstream"
	return options{
		"dial": word(&u.Dial, form.Dial, ":"),
		"tls": {
			nested: func(d *caddyfile.Dispenser) (err error) {
				u.TLS, err = parseUpstreamTLS(d)
				return err
			},
		},
		"auth": {
			nested: func(d *caddyfile.Dispenser) (err error) {
				u.Auth, err = parseUpstreamAuth(d)
				return err
			},
		},
		"hostname":               word(&u.Hostname, form.Hostname),
		"max_conns":              integer(&u.MaxConns),
		"max_conns_per_account":  integer(&u.MaxConnsPerAccount),
		"max_messages_per_conn":  integer(&u.MaxMessagesPerConn),
		"idle_timeout":           duration(&u.IdleTimeout),
		"max_age":                duration(&u.MaxAge),
		"max_wait":               duration(&u.MaxWait),
		"max_waiting":            integer(&u.MaxWaiting),
		"rate_per_account":       rate(&u.RatePerAccount),
		"messages_per_account":   rate(&u.MessagesPerAccount),
		"recipients_per_account": rate(&u.RecipientsPerAccount),
		"source_ip":              word(&u.SourceIP, form.IP),
		"network_proxy":          module(what, "network_proxy", &u.NetworkProxyRaw, "caddy.network_proxy", "from"),
		"dial_timeout":           duration(&u.DialTimeout),
		"command_timeout":        duration(&u.CommandTimeout),
		"data_timeout":           duration(&u.DataTimeout),
		"framing":                word(&u.Framing, form.OneOf("auto", "data")),
		"submitter":              boolean(&u.Submitter),
	}
}

// parseUpstreamTLS reads how connections are encrypted. Syntax:
//
//	tls [starttls|implicit|off] {
//		trust_pool  <module> ...
//		server_name <name>
//		client_certificate <file> <key file>
//	}
func parseUpstreamTLS(d *caddyfile.Dispenser) (*upstreampool.UpstreamTLS, error) {
	t := new(upstreampool.UpstreamTLS)
	args := d.RemainingArgs()
	switch {
	case len(args) > 1:
		return nil, malformed(d, "upstream", "tls", unexpectedArg(args[1]))
	case len(args) == 1:
		if err := form.TLSMode.Check(args[0]); err != nil {
			return nil, malformed(d, "upstream", "tls", err)
		}
		t.Mode = args[0]
	}
	return t, parseBlock(d, "tls", options{
		"trust_pool":  module("tls", "trust_pool", &t.CARaw, "tls.ca_pool.source", "provider"),
		"server_name": word(&t.ServerName, form.Hostname),
		"client_certificate": {
			nested: func(d *caddyfile.Dispenser) error {
				args := d.RemainingArgs()
				if len(args) != 2 {
					return malformed(d, "tls", "client_certificate", errors.New("want the files of the certificate and of its key"))
				}
				t.ClientCertificate, t.ClientKey = args[0], args[1]
				return nil
			},
		},
	})
}

// parseUpstreamAuth reads how the gateway logs in. Syntax:
//
//	auth xoauth2|oauthbearer|plain|login|none [<provider>] {
//		force
//	}
func parseUpstreamAuth(d *caddyfile.Dispenser) (*upstreampool.UpstreamAuth, error) {
	a := new(upstreampool.UpstreamAuth)
	args := d.RemainingArgs()
	switch len(args) {
	case 0:
		return nil, malformed(d, "upstream", "auth", errors.New("a mechanism is missing"))
	case 1:
		a.Mechanism = args[0]
	case 2:
		a.Mechanism, a.Provider = args[0], args[1]
	default:
		return nil, malformed(d, "upstream", "auth", unexpectedArg(args[2]))
	}
	if err := mechanism(a.Mechanism); err != nil {
		return nil, malformed(d, "upstream", "auth", err)
	}
	return a, parseBlock(d, "auth", options{
		"force": boolean(&a.Force),
	})
}
