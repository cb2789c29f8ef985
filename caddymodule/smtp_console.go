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
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddymail/mailgateway/console"
	"github.com/caddymail/mailgateway/internal/form"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("smtp_console", parseConsole)
	httpcaddyfile.RegisterDirectiveOrder("smtp_console", httpcaddyfile.Before, "respond")
}

// parseConsole sets up the operator's pages. Syntax:
//
//	smtp_console [<matcher>] {
//		url <url>
//		name <text>
//		user <placeholder>
//		login <provider>
//		password <name> <hash>
//		idle <duration>
//		operators <name>...
//		viewers <name>...
//		setup <caddyfile>
//	}
func parseConsole(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	c := new(console.Handler)
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	err := parseBlock(h.Dispenser, "smtp_console", options{
		"url":       word(&c.URL, form.URL),
		"name":      text(&c.Name),
		"user":      text(&c.User),
		"login":     text(&c.Login),
		"password":  pairs(&c.Passwords),
		"idle":      duration(&c.Idle),
		"operators": list(&c.Operators),
		"viewers":   list(&c.Viewers),
		"setup":     text(&c.Setup),
	})
	return c, err
}
