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
	"net/netip"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/smtpapp"
)

// parseServer reads one server. Syntax:
//
//	server <name> [<addresses...>] {
//		tls ...
//		legacy_tls
//		max_message_size  <size>
//		max_recipients    <number>
//		max_conns         <number>
//		max_conns_per_ip  <number>
//		max_conns_before_login <number>
//		plaintext_auth    <networks...>
//		trust <networks...> {
//			account <name>
//		}
//		auth_failures     <number> [per <duration>] [ban <duration>] [delay <duration>|off] [exempt <networks...>]
//		bare_newline      reject|normalize
//		lf_only           <networks...>
//		strict
//		envelope          faithful|deferred
//		command_timeout   <duration>
//		login_timeout     <duration>
//		body_idle_timeout <duration>
//		body_timeout      <duration>
//		reply_id
//		proxy_protocol    <networks...>
//		listener_wrappers {
//			<module> ...
//		}
//	}
//
// A server without an address serves only the smtp handler of caddy-l4.
// proxy_protocol is short for the listener wrapper of this name that allows
// the networks.
func parseServer(d *caddyfile.Dispenser, srv *smtpapp.Server) error {
	var legacy bool
	if err := parseBlock(d, "server", serverOptions(srv, &legacy)); err != nil {
		return err
	}
	if legacy {
		if srv.TLS == nil {
			srv.TLS = new(smtpapp.TLS)
		}
		srv.TLS.Legacy = true
	}
	return nil
}

// serverOptions are those of parseServer.
func serverOptions(srv *smtpapp.Server, legacy *bool) options {
	return options{
		"tls": {
			nested: func(d *caddyfile.Dispenser) (err error) {
				srv.TLS, err = parseServerTLS(d)
				return err
			},
		},
		"legacy_tls":             boolean(legacy),
		"max_message_size":       size(&srv.MaxMessageSize),
		"max_recipients":         integer(&srv.MaxRecipients),
		"max_conns":              integer(&srv.MaxConns),
		"max_conns_per_ip":       integer(&srv.MaxConnsPerIP),
		"max_conns_before_login": integer(&srv.MaxConnsBeforeLogin),
		"plaintext_auth":         networks(&srv.PlaintextAuth),
		"trust": {
			many: true,
			nested: func(d *caddyfile.Dispenser) error {
				t, err := parseTrust(d)
				srv.Trust = append(srv.Trust, t)
				return err
			},
		},
		"auth_failures": {
			args: func(args []string) (err error) {
				srv.AuthFailures, err = parseAuthFailures(args)
				return err
			},
		},
		"bare_newline":      word(&srv.BareNewline, form.Words(map[string]string{"refuse": "reject", "no": "reject", "fix": "normalize", "accept": "normalize"}, "reject", "normalize")),
		"lf_only":           networks(&srv.LFOnly),
		"strict":            boolean(&srv.Strict),
		"envelope":          word(&srv.Envelope, form.OneOf("faithful", "deferred")),
		"spool":             spoolMode("server", &srv.Spool),
		"command_timeout":   duration(&srv.CommandTimeout),
		"login_timeout":     duration(&srv.LoginTimeout),
		"body_idle_timeout": duration(&srv.BodyIdleTimeout),
		"body_timeout":      duration(&srv.BodyTimeout),
		"reply_id":          boolean(&srv.ReplyID),
		"proxy_protocol": {
			args: func(args []string) error {
				var allow []string
				if err := networks(&allow).args(args); err != nil {
					return err
				}
				// The wrapper takes prefixes only.
				for i, network := range allow {
					if addr, err := netip.ParseAddr(network); err == nil {
						allow[i] = netip.PrefixFrom(addr, addr.BitLen()).String()
					}
				}
				srv.ListenerWrappersRaw = append(srv.ListenerWrappersRaw, caddyconfig.JSON(map[string]any{
					"wrapper": "proxy_protocol",
					"allow":   allow,
					// By default the wrapper waits for a header from
					// the others too, which a client that waits for
					// the greeting does not send.
					"fallback_policy": "SKIP",
					// A proxy sends its header at once. Its health
					// check sends none, and waits for the greeting.
					"timeout": "2s",
				}, nil))
				return nil
			},
		},
		"listener_wrappers": {
			nested: func(d *caddyfile.Dispenser) error {
				return parseListenerWrappers(d, &srv.ListenerWrappersRaw)
			},
		},
	}
}

// parseServerTLS reads a server's side of TLS. Syntax:
//
//	tls [starttls|implicit|off] [<certificate> <key>] {
//		legacy
//		client_auth {
//			...
//		}
//		client_certificate_login
//		connection_policy {
//			...
//		}
//	}
//
// client_auth and connection_policy are those of Caddy; client_auth is short
// for a connection policy with nothing else in it.
func parseServerTLS(d *caddyfile.Dispenser) (*smtpapp.TLS, error) {
	const what = "tls"
	t := new(smtpapp.TLS)
	args := d.RemainingArgs()
	if len(args) > 0 && (len(args) != 2 || form.TLSMode.Check(args[0]) == nil) {
		if err := form.TLSMode.Check(args[0]); err != nil {
			return nil, malformed(d, "server", what, err)
		}
		t.Mode = args[0]
		args = args[1:]
	}
	switch len(args) {
	case 0:
	case 1:
		if form.TLSMode.Check(args[0]) == nil {
			return nil, malformed(d, "server", what, fmt.Errorf("'%s' and '%s' are two modes, and a server has one", t.Mode, args[0]))
		}
		return nil, malformed(d, "server", what, errors.New("a certificate needs its key, as in 'tls starttls cert.pem key.pem'"))
	case 2:
		t.Certificate, t.Key = args[0], args[1]
	default:
		return nil, malformed(d, "server", what, unexpectedArg(args[2]))
	}
	return t, parseBlock(d, what, serverTLSOptions(t))
}

// parseTrust reads who may send without logging in. Syntax:
//
//	trust <networks...> {
//		account <name>
//		submitter
//	}
func parseTrust(d *caddyfile.Dispenser) (*smtpapp.Trust, error) {
	t := new(smtpapp.Trust)
	if err := networks(&t.Networks).args(d.RemainingArgs()); err != nil {
		return nil, malformed(d, "server", "trust", err)
	}
	if err := parseBlock(d, "trust", options{"account": text(&t.Account), "submitter": boolean(&t.Submitter)}); err != nil {
		return nil, err
	}
	if t.Account == "" && !t.Submitter {
		return nil, malformed(d, "server", "trust", errors.New("option 'account' is missing: in whose name mail of these addresses leaves, as in 'account scanner@example.com'"))
	}
	return t, nil
}

// parseAuthFailures reads `5 per 10m ban 15m delay 250ms`.
func parseAuthFailures(args []string) (*smtpapp.AuthFailures, error) {
	a := new(smtpapp.AuthFailures)
	if len(args) == 0 {
		return nil, errors.New("a number is missing")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n <= 0 {
		return nil, form.Number(args[0], "whole number")
	}
	a.Max = n
	for args = args[1:]; len(args) > 0; args = args[2:] {
		var p *caddy.Duration
		switch args[0] {
		case "exempt":
			rest := args[1:]
			if len(rest) == 0 {
				return nil, errors.New("a network is missing after 'exempt'")
			}
			if rest[0] == "none" {
				a.Exempt, rest = []string{"none"}, rest[1:]
			}
			if len(rest) == 0 {
				return a, nil
			}
			return a, networks(&a.Exempt).args(rest)
		case "per":
			p = &a.Window
		case "ban":
			p = &a.Ban
		case "delay":
			p = &a.Delay
		default:
			return nil, unexpectedArg(args[0])
		}
		if len(args) == 1 {
			return nil, fmt.Errorf("a duration is missing after '%s'", args[0])
		}
		if *p != 0 {
			return nil, fmt.Errorf("'%s' stands twice", args[0])
		}
		if args[0] == "delay" && args[1] == "off" {
			*p = -1
			continue
		}
		if err := setDuration(p, args[1]); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// networks is one IP address or prefix or more; further lines add to it.
func networks(p *[]string) option {
	l := list(p)
	add := l.args
	l.args = func(args []string) error {
		for _, arg := range args {
			if err := form.Network.Check(arg); err != nil {
				return err
			}
		}
		return add(args)
	}
	return l
}

// parseListenerWrappers reads what wraps the listeners, outermost first, as
// the http app's servers do. Syntax:
//
//	listener_wrappers {
//		<module> ...
//	}
func parseListenerWrappers(d *caddyfile.Dispenser, wrappers *[]json.RawMessage) error {
	if args := d.RemainingArgs(); len(args) > 0 {
		return malformed(d, "server", "listener_wrappers", unexpectedArg(args[0]))
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		raw, err := parseModule(d, "server", "listener_wrappers", "caddy.listeners", "wrapper")
		if err != nil {
			return err
		}
		*wrappers = append(*wrappers, raw)
	}
	return nil
}
