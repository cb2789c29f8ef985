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

	"github.com/caddymail/mailgateway/transports/choice"
)

// parseChoice reads the transport choice, which has a short form. Syntax:
//
//	transports       <upstream> <upstream>...
//	transport choice <upstream> <upstream>...
func parseChoice(d *caddyfile.Dispenser) (json.RawMessage, error) {
	t := &choice.Transport{Upstreams: d.RemainingArgs()}
	if len(t.Upstreams) < 2 {
		return nil, malformed(d, "upstream", "transports", errors.New("want the names of two upstreams at least, the preferred one first"))
	}
	if err := parseBlock(d, "choice", options{}); err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(t, "transport", "choice", nil), nil
}
