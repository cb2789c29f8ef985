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

package console

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/console/picture"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/smtpapp"
)

// secretFor is how long the browser has to follow a redirect to the page that shows a
// secret once.
const secretFor = 2 * time.Minute

type shownOnce struct{ Account, Secret string }

func secretCookie(account, kind string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + strings.ToLower(account)))
	return "smtp-console-" + hex.EncodeToString(sum[:6])
}

// keepSecret carries a secret to the page after a redirect, sealed in the browser's
// cookie: it is nowhere else, and is shown once.
func (v *visit) keepSecret(account, kind, secret string) error {
	return v.h.cookies.Set(v.w, v.r, secretCookie(account, kind), shownOnce{account, secret}, secretFor, http.SameSiteStrictMode)
}

// secret returns what keepSecret has kept, and forgets it.
func (v *visit) secret(account, kind string) string {
	var s shownOnce
	name := secretCookie(account, kind)
	if v.h.cookies.Get(v.r, name, &s) != nil || s.Account != account {
		return ""
	}
	v.h.cookies.Drop(v.w, name)
	v.h.once.shown(name)
	return s.Secret
}

// way is one of the servers that a device can use.
type way struct {
	Server, Host, Port, TLS string
	// Advice is when to choose it.
	Advice string
}

// card is what is typed into a device.
type card struct {
	Account, Password string
	// Device is what the operator calls it.
	Device string
	Ways   []way
	// Vendors are the words of the common makers.
	Vendors []vendor
	// QR is the same for a camera: the squares of its picture.
	QR   []picture.Square
	Size int
}

var tlsWords = map[string]string{"starttls": "STARTTLS", "implicit": "SSL/TLS", "off": "none"}

// ways are the servers that listen for the network, the ones with TLS first.
func ways() []way {
	app, err := operate.App[*smtpapp.App]("smtp")
	if err != nil {
		return nil
	}
	var list []way
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
			w := way{Server: name, Host: app.Hostname, Port: fmt.Sprint(addr.StartPort), TLS: tlsWords[mode]}
			if ip := net.ParseIP(addr.Host); ip != nil && ip.IsLoopback() {
				w.Host, w.Advice = addr.Host, "for programs on the gateway's machine only"
			} else if mode == "off" {
				w.Advice = "only for devices that can do neither of the others, within your own network"
			}
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b way) int {
		return cmp.Or(cmp.Compare(len(a.Advice), len(b.Advice)), cmp.Compare(b.TLS, a.TLS), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Port, b.Port))
	})
	return list
}

func showCard(v *visit) error {
	_, a, err := v.account()
	if err != nil {
		return err
	}
	c := card{Account: a.Name, Ways: ways(), Device: a.Labels[deviceLabel+v.r.URL.Query().Get("device")]}
	if len(c.Ways) > 0 {
		c.Vendors = vendorsFor(c.Ways[0])
	}
	if v.User.Operator {
		c.Password = v.secret(a.Name, "password")
	}
	if len(c.Ways) > 0 {
		w := c.Ways[0]
		text := fmt.Sprintf("Server: %s\nPort: %s\nSecurity: %s\nUser: %s\n", w.Host, w.Port, w.TLS, c.Account)
		if c.Password != "" {
			text += "Password: " + c.Password + "\n"
		}
		if c.QR, c.Size, err = picture.QR(text); err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "card", "accounts", "Device card: "+a.Name, c)
}
