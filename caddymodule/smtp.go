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
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddymail/mailgateway/caddymodule/wording"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/smtpapp"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("smtp", parseApp("smtp", smtpOptions))
}

// smtpOptions are those of the global option. Syntax:
//
//	smtp {
//		hostname      <name>
//		drain_timeout <duration>
//		tracing {
//			span <name>
//		}
//		messages {
//			keep            <duration>
//			max_count       <number>
//			max_size        <size>
//			hash_recipients
//			directory       <path>
//		}
//		accounts {
//			...
//		}
//		server <name> [<addresses...>] {
//			...
//		}
//	}
//
// Several blocks are combined.
func smtpOptions(app *smtpapp.App) options {
	return options{
		"hostname":      word(&app.Hostname, form.Hostname),
		"drain_timeout": duration(&app.DrainTimeout),
		"tracing": {
			isSet: func() bool { return app.Tracing != nil },
			nested: func(d *caddyfile.Dispenser) error {
				if args := d.RemainingArgs(); len(args) > 0 {
					return malformed(d, "smtp", "tracing", unexpectedArg(args[0]))
				}
				app.Tracing = new(smtpapp.Tracing)
				return parseBlock(d, "tracing", tracingOptions(app.Tracing))
			},
		},
		"messages": {
			isSet: func() bool { return app.Messages != nil },
			nested: func(d *caddyfile.Dispenser) error {
				if args := d.RemainingArgs(); len(args) > 0 {
					return malformed(d, "smtp", "messages", unexpectedArg(args[0]))
				}
				app.Messages = new(messagelog.Config)
				return parseBlock(d, "messages", messagesOptions(app.Messages))
			},
		},
		"accounts": {
			many: true,
			nested: func(d *caddyfile.Dispenser) error {
				return parseAccounts(d, &app.AccountsRaw)
			},
		},
		"server": {
			many: true,
			nested: func(d *caddyfile.Dispenser) error {
				args, err := parseNamed(d, "smtp", "server", -1, func(name string) bool {
					_, ok := app.Servers[name]
					return ok
				})
				if err != nil {
					return err
				}
				if err := wording.ServerName(args[0]); err != nil {
					return malformed(d, "smtp", "server", err)
				}
				for _, address := range args[1:] {
					if err := listens(address); err != nil {
						return malformed(d, "smtp", "server", err)
					}
				}
				srv := &smtpapp.Server{Listen: args[1:]}
				if err := parseServer(d, srv); err != nil {
					return err
				}
				if app.Servers == nil {
					app.Servers = make(map[string]*smtpapp.Server)
				}
				app.Servers[args[0]] = srv
				return nil
			},
		},
	}
}

// messagesOptions are those of what is kept of messages.
func messagesOptions(m *messagelog.Config) options {
	return options{
		"keep":            duration(&m.Keep),
		"max_count":       integer(&m.MaxCount),
		"max_size":        size(&m.MaxSize),
		"hash_recipients": boolean(&m.HashRecipients),
		"directory":       text(&m.Directory),
	}
}

// tracingOptions are those of tracing: what Caddy's directive of this name
// takes and makes sense here. All else comes from the OTEL_ variables.
func tracingOptions(t *smtpapp.Tracing) options {
	return options{"span": text(&t.Span)}
}
