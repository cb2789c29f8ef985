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

	"github.com/caddymail/mailgateway/caddymodule/statuspage"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("smtp_status", parseStatusPage)
	httpcaddyfile.RegisterDirectiveOrder("smtp_status", httpcaddyfile.Before, "respond")
}

// parseStatusPage reads the directive. Syntax:
//
//	smtp_status [<matcher>] {
//		show_accounts
//		interval <duration>
//	}
func parseStatusPage(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(statuspage.Page)
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	err := parseBlock(h.Dispenser, "smtp_status", options{
		"show_accounts": boolean(&s.ShowAccounts),
		"interval":      duration(&s.Interval),
	})
	return s, err
}
