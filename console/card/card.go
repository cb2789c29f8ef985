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

// Package card has what is typed into a device: which of the servers it can use, and
// what the menus of makers call each line. The page itself is the console's.
package card

import (
	"cmp"
	"fmt"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
)

// Way is one of the servers that a device can use.
type Way struct {
	Server, Host, Port, TLS string
	// Advice is when to choose it.
	Advice string
}

var tlsWords = map[string]string{"starttls": "STARTTLS", "implicit": "SSL/TLS", "off": "none"}

// Ways are the servers that listen for the network, the ones with TLS first.
func Ways() []Way {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return nil
	}
	var list []Way
	for name, s := range app.Servers {
		mode := "starttls"
		if s.TLS != nil {
			mode = cmp.Or(s.TLS.Mode, mode)
		}
		for _, l := range s.Listen {
			addr, err := caddy.ParseNetworkAddress(l)
			if err != nil || addr.IsUnixNetwork() {
				continue
			}
			w := Way{Server: name, Host: app.Hostname, Port: fmt.Sprint(addr.StartPort), TLS: tlsWords[mode]}
			if ip := net.ParseIP(addr.Host); ip != nil && ip.IsLoopback() {
				w.Host, w.Advice = addr.Host, "for programs on the gateway's machine only"
			} else if mode == "off" {
				w.Advice = "only for devices that can do neither of the others, within your own network"
			}
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b Way) int {
		return cmp.Or(cmp.Compare(len(a.Advice), len(b.Advice)), cmp.Compare(b.TLS, a.TLS), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Port, b.Port))
	})
	return list
}
