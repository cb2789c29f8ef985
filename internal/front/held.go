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

package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
)

// heldElsewhere refuses an address that another process listens at. Caddy's
// listeners share a port (SO_REUSEPORT) with any process of the same user, so a
// second gateway would start, and the kernel deal connections to both. This
// process may hold the port already, under the configuration that goes: then
// there is nothing to learn.
func heldElsewhere(addr caddy.NetworkAddress, offset uint) error {
	if !strings.HasPrefix(addr.Network, "tcp") {
		return nil
	}
	at := addr.JoinHostPort(offset)
	ln, err := new(net.ListenConfig).Listen(context.Background(), addr.Network, at)
	if err == nil {
		return ln.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: another process listens at this port, maybe a second gateway: %w", at, err)
	}
	return nil // Caddy's listener says it better
}

// heldHere reports whether this process listens at the port, at whatever
// address: a server may move from all addresses to one.
func heldHere(addr caddy.NetworkAddress, offset uint) bool {
	_, port, err := net.SplitHostPort(addr.JoinHostPort(offset))
	if err != nil {
		return false
	}
	held := false
	listeners.Range(func(key, _ any) bool {
		_, at, _ := strings.Cut(key.(string), "/")
		_, p, err := net.SplitHostPort(at)
		held = held || err == nil && p == port
		return !held
	})
	if held {
		return true
	}
	for _, host := range []string{addr.Host, "", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"} {
		for _, network := range []string{addr.Network, "tcp"} {
			if caddy.ListenerUsage(network, net.JoinHostPort(host, port)) > 0 {
				return true
			}
		}
	}
	return false
}
