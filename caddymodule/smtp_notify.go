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

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymail/mailgateway/notify"
)

func init() {
	caddy.RegisterModule(new(notifyHandler))
}

// notifyHandler is the handler of events with its Caddyfile syntax.
type notifyHandler struct{ notify.Handler }

// CaddyModule returns the Caddy module information.
func (*notifyHandler) CaddyModule() caddy.ModuleInfo {
	info := (*notify.Handler)(nil).CaddyModule()
	info.New = func() caddy.Module { return new(notifyHandler) }
	return info
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	smtp_notify {
//		webhook       <address> [json|slack|teams]
//		mail_to       <address>...
//		mail_accounts <account>...
//		mail_from     <address>
//		window        <duration>
//		interval      <duration>
//	}
func (h *notifyHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, "smtp_notify", options{
		"webhook": {args: func(args []string) error {
			switch len(args) {
			case 0:
				return errors.New("an address is missing")
			case 1, 2:
				h.Webhook = args[0]
			default:
				return unexpectedArg(args[2])
			}
			if len(args) == 2 {
				h.Format = args[1]
			}
			return nil
		}},
		"mail_to":       list(&h.MailTo),
		"mail_accounts": list(&h.MailAccounts),
		"mail_from":     text(&h.MailFrom),
		"window":        duration(&h.Window),
		"interval":      duration(&h.Interval),
	})
}

// Interface guards
var _ caddyfile.Unmarshaler = (*notifyHandler)(nil)
