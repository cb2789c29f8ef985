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

package interop

import (
	"math"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/sandbox"
)

// TestStatusPageScreenshots makes the manual's pictures of the page, in the
// directory that MAILGATEWAY_SCREENSHOTS names.
func TestStatusPageScreenshots(t *testing.T) {
	dir := os.Getenv("MAILGATEWAY_SCREENSHOTS")
	if dir == "" {
		t.Skip("MAILGATEWAY_SCREENSHOTS is not set")
	}
	browser := startChromium(t)
	const to = "someone@example.net"
	g := startGateway(t, gatewayOptions{
		sandbox: sandboxMailbox("newsletter@provider.test") + sandboxMailbox("reports@provider.test"),
		accounts: accountBlock("newsletter@example.com", "newsletter@provider.test", "limits {\nmessages 300/1h\n}") +
			accountBlock("reports@example.com", "reports@provider.test", "limits {\nmessages 20/1h\n}"),
	}, "erp@example.com", "invoices@example.com", "alerts@example.com", "scanner@example.com", "crm@example.com")
	base := statusSite(g)
	g.sandbox.do(http.MethodPost, "/control/revoke", strings.NewReader(`{"mailbox":"invoices@provider.test"}`))
	g.sandbox.fault(sandbox.Fault{
		Stage: "auth", Action: "reply", Mailbox: "scanner@provider.test",
		Reply: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
	})
	browser.open(base+"/", "light", 1280, 900)
	browser.is("#state", "Live")
	for _, user := range []string{"invoices@example.com", "scanner@example.com"} {
		g.send(user, user, to, 1, 454)
	}
	g.send("reports@example.com", "reports@example.com", to, 19, 250)
	for range 3 { // clients that keep their connections
		c, err := smtp.Dial(g.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// A while of traffic that goes up and down, for the chart.
	g.sandbox.fault(sandbox.Fault{Stage: "end", Action: "delay", Delay: caddy.Duration(12 * time.Millisecond)})
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		pace := time.NewTicker(250 * time.Millisecond)
		defer pace.Stop()
		users := []string{"erp@example.com", "alerts@example.com", "crm@example.com"}
		for i := 0; ; i++ {
			user := users[i%len(users)]
			n := 4 + int(2*math.Sin(float64(i)/30)+1.5*math.Sin(float64(i)/3.3))
			err := g.trySend(user, user, to, n, 250)
			if err == nil && i < 300 {
				err = g.trySend("newsletter@example.com", "newsletter@example.com", to, 1, 250)
			}
			if err == nil && i%57 < 2 {
				err = g.trySend(user, user, "maxsize-1@example.net", 1, 552)
			}
			if err == nil && i%60 == 59 { // a device that tries again and again
				err = g.trySend("scanner@example.com", "scanner@example.com", to, 1, 454)
			}
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case <-done:
				return
			case <-pace.C:
			}
		}
	}()
	defer func() {
		close(done)
		<-ended
	}()
	for range 110 {
		browser.do("next", nil, nil)
	}
	browser.matches("#notices", "limit reached")
	browser.matches("#notices", "no connection")
	shoot := func(name string, full bool) {
		browser.do("screenshot", object{"path": filepath.Join(dir, "status-"+name+".png"), "full": full}, nil)
	}
	for _, scheme := range []string{"light", "dark"} {
		browser.do("media", object{"scheme": scheme}, nil)
		browser.do("size", object{"width": 1280, "height": 900}, nil)
		shoot(scheme, true)
		browser.do("size", object{"width": 400, "height": 900}, nil)
		shoot(scheme+"-narrow", false)
	}
}
