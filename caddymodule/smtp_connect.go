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

	"github.com/caddymail/mailgateway/connect"
	"github.com/caddymail/mailgateway/internal/form"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("smtp_connect", parseConnect)
	httpcaddyfile.RegisterDirectiveOrder("smtp_connect", httpcaddyfile.Before, "respond")
}

// parseConnect sets up the pages of mailbox owners. Syntax:
//
//	smtp_connect [<matcher>] {
//		url <url>
//		name <text>
//		contact <text>
//		expires <duration>
//		unidentified
//	}
func parseConnect(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	c := new(connect.Handler)
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	err := parseBlock(h.Dispenser, "smtp_connect", options{
		"url":          word(&c.URL, form.URL),
		"name":         text(&c.Name),
		"contact":      text(&c.Contact),
		"expires":      duration(&c.Expires),
		"unidentified": boolean(&c.Unidentified),
	})
	return c, err
}
