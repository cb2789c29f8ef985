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
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(new(testTransport))
}

// testTransport is an upstream of a kind that is none of ours, as a plugin
// brings it.
type testTransport struct {
	Words []string `json:"words,omitempty"`
	Color string   `json:"color,omitempty"`
}

func (*testTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smtp_upstreams.transports.test_guest",
		New: func() caddy.Module { return new(testTransport) },
	}
}

func (t *testTransport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the kind
	t.Words = d.RemainingArgs()
	for d.NextBlock(0) {
		if d.Val() != "color" || !d.Args(&t.Color) {
			return d.ArgErr()
		}
	}
	return nil
}
