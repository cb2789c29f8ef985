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
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/console/card"
	"github.com/caddymail/mailgateway/console/picture"
	"github.com/caddymail/mailgateway/operate"
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
	v.h.wasShown(name)
	return s.Secret
}

// cardPage is what is typed into a device.
type cardPage struct {
	Account, Password string
	// Device is what the operator calls it.
	Device string
	Ways   []card.Way
	// Waits reports whether the mailbox's owner has to agree first.
	Waits bool
	// Vendors are the words of the common makers.
	Vendors []card.Vendor
	// QR is the same for a camera: the squares of its picture.
	QR   []picture.Square
	Size int
}

func showCard(v *visit) error {
	_, a, err := v.account()
	if err != nil {
		return err
	}
	c := cardPage{Account: a.Name, Ways: card.Ways(), Device: a.Labels[deviceLabel+v.r.URL.Query().Get("device")]}
	s := operate.NewStates().Of(a)
	c.Waits = s == operate.StateNeverConsented || s == operate.StateNeedsConsent
	if len(c.Ways) > 0 {
		c.Vendors = card.Vendors(c.Ways[0])
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
