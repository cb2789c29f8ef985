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
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"

	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/smtpapp"
)

func init() {
	caddy.RegisterModule(&L4Handler{})
}

// L4Handler hands connections of a caddy-l4 route to a server of the smtp app,
// which serves them with its own limits and policy. The server does TLS itself
// as it is configured to, unless the route has terminated TLS already: then
// the session is secure from its first byte.
//
// SMTP servers speak first, so the route must not wait for the client's first
// bytes: it has no matchers, or only such as `remote_ip`, `local_ip` and
// `clock`. Behind implicit TLS, where the client speaks first, the `tls`
// matcher is fine.
type L4Handler struct {
	// Server is the name of a server of the smtp app. The server need not
	// listen anywhere itself.
	Server string `json:"server,omitempty"`

	app connServer
}

// connServer serves one connection until its session has ended.
type connServer interface {
	ServeConn(server string, conn net.Conn, tlsState *tls.ConnectionState) error
}

// CaddyModule returns the Caddy module information.
func (*L4Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "layer4.handlers.smtp",
		New: func() caddy.Module { return new(L4Handler) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *L4Handler) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, h) }

// Provision finds the server.
func (h *L4Handler) Provision(ctx caddy.Context) error {
	if h.Server == "" {
		return errors.New("server: the name of a server of the smtp app is missing")
	}
	mod, err := ctx.AppIfConfigured("smtp")
	if err != nil {
		return fmt.Errorf("server '%s': getting the smtp app: %w", h.Server, err)
	}
	app, ok := mod.(*smtpapp.App)
	if !ok {
		return fmt.Errorf("server '%s': the smtp app is a %T", h.Server, mod)
	}
	if app.Servers[h.Server] == nil {
		return fmt.Errorf("server '%s': the smtp app has no server of this name", h.Server)
	}
	h.app, ok = mod.(connServer)
	if !ok {
		return fmt.Errorf("server '%s': the smtp app serves no foreign connections", h.Server)
	}
	return nil
}

// Handle serves the connection. It returns when the session has ended, since
// caddy-l4 closes the connection then.
func (h *L4Handler) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	var state *tls.ConnectionState
	if states := l4tls.GetConnectionStates(cx); len(states) > 0 {
		// The last is the innermost.
		state = states[len(states)-1]
	}
	return h.current().ServeConn(h.Server, cx, state)
}

// current is the app of the configuration in force. While a reload is under
// way it may differ from the one that the handler was provisioned with, which
// has not been started yet, or has been stopped.
func (h *L4Handler) current() connServer {
	if mod, err := caddy.ActiveContext().AppIfConfigured("smtp"); err == nil {
		if app, ok := mod.(connServer); ok {
			return app
		}
	}
	return h.app
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	smtp <server>
func (h *L4Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	_, wrapper := d.Next(), d.Val() // consume wrapper name

	if d.CountRemainingArgs() != 1 {
		return d.ArgErr()
	}
	_, h.Server = d.NextArg(), d.Val()

	if d.NextBlock(d.Nesting()) {
		return d.Errf("malformed layer4 connection handler '%s': blocks are not supported", wrapper)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*L4Handler)(nil)
	_ caddyfile.Unmarshaler = (*L4Handler)(nil)
	_ layer4.NextHandler    = (*L4Handler)(nil)
)
