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

package docs

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/sandbox"
)

// visit is a row that is played: the devices that came for it and what they
// heard.
type visit struct {
	*office
	t     *testing.T
	from  []string
	heard []string // refusals, with their enhanced codes
}

var refusalCode = regexp.MustCompile(`\b[45]\d\d [45]\.\d\.\d+\b`)

// device connects one to a server, from an address of its own.
func (v *visit) device(server string) *device { return v.deviceAt(server, address(anywhere)) }

// deviceAt connects one from an address.
func (v *visit) deviceAt(server, from string) *device {
	v.t.Helper()
	if !slices.Contains(v.from, from) {
		v.from = append(v.from, from)
	}
	d := v.office.device(v.t, server, from)
	d.heard = &v.heard
	return d
}

// accepted holds that a reply is positive.
func (v *visit) accepted(reply string) {
	v.t.Helper()
	if !strings.HasPrefix(reply, "2") {
		v.t.Errorf("not accepted: %q", reply)
	}
}

// session is a device that has logged in.
func (v *visit) session(server string) *device {
	v.t.Helper()
	d := v.device(server).hello()
	d.startTLS()
	v.accepted(d.login(deviceAccount, devicePassword))
	return d
}

// mail is a transaction in the words of the device; what it sends is what the
// provider has, which is returned.
func (v *visit) mail(d *device, from, to string) sandbox.Message {
	v.t.Helper()
	before := v.provider.MessageCount()
	v.accepted(d.say(from))
	v.accepted(d.say(to))
	d.say("DATA")
	v.accepted(d.say("Subject: page\r\n\r\nx\r\n."))
	d.leave()
	return v.latest(before)
}

// latest is the only message that came since.
func (v *visit) latest(before uint64) sandbox.Message {
	v.t.Helper()
	list := v.provider.MessagesAfter(before, 10)
	if len(list) != 1 {
		v.t.Fatalf("%d messages at the provider, want one", len(list))
	}
	return list[0]
}

const (
	fromScanner = "MAIL FROM:<" + deviceAccount + ">"
	toYou       = "RCPT TO:<you@example.net>"
)

// body holds what the provider has.
func (v *visit) body(m sandbox.Message, want string) {
	v.t.Helper()
	if string(m.Body) != want {
		v.t.Errorf("the provider has %q, want %q", m.Body, want)
	}
}

// closed reads the last word, and holds that nothing follows it.
func (v *visit) closed(d *device) {
	v.t.Helper()
	if d.last == "" || d.last[0] != '5' {
		d.reply()
	}
	if _, err := d.text.ReadLine(); err == nil {
		v.t.Errorf("the connection goes on after %q", d.last)
	}
	d.leave()
}

// mailAs sends as another account than the scanner's, and returns the last word.
func (v *visit) mailAs(account string, want bool) string {
	v.t.Helper()
	d := v.device("starttls").hello().startTLS()
	v.accepted(d.login(account, devicePassword))
	for _, command := range []string{"MAIL FROM:<" + account + ">", toYou, "DATA", "Subject: page\r\n\r\nx\r\n."} {
		if d.say(command); d.last == "" || d.last[0] > '3' {
			break
		}
	}
	if got := strings.HasPrefix(d.last, "2"); got != want {
		v.t.Errorf("%s: %q", account, d.last)
	}
	last := d.last
	d.leave()
	return last
}

// refusedByProvider is a sender that the account may use and the provider does
// not let it.
func (v *visit) refusedByProvider() {
	v.t.Helper()
	const theirs = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
	id, err := v.provider.AddFault(sandbox.Fault{Stage: "mail", Action: "reply", Reply: theirs, Mailbox: "free@example.com"})
	if err != nil {
		v.t.Fatal(err)
	}
	defer v.provider.RemoveFault(id)
	heard := len(v.heard)
	if last := v.mailAs("free@example.com", false); last != theirs {
		v.t.Errorf("the provider's words are %q, the device hears %q", theirs, last)
	}
	// The page says "the provider's".
	v.heard = v.heard[:heard]
}

// byDefault holds that the manual has a value as an option's default, as the code
// has (fields_test.go).
func (v *visit) byDefault(option, value string) {
	v.t.Helper()
	if !regexp.MustCompile("(?m)^\\| `" + option + "` .*Default: " + value + `\b`).MatchString(read(v.t, "configuration.md")) {
		v.t.Errorf("%s is not %s by default", option, value)
	}
}

// awaitLegacy waits for the certificates that legacy_tls has.
func (v *visit) awaitLegacy(cfg *tls.Config) {
	v.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// From an address that no row looks at.
		d := v.office.device(v.t, "legacy", address(anywhere))
		d.hello().say("STARTTLS")
		err := tls.Client(d.nc, cfg).Handshake()
		d.leave()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatal(err)
		}
	}
}

// handshake begins TLS.
func (d *device) handshake(cfg *tls.Config) {
	d.t.Helper()
	tc := tls.Client(d.nc, cfg)
	if err := tc.Handshake(); err != nil {
		d.t.Fatal(err)
	}
	d.nc, d.text = tc, textproto.NewConn(tc)
}

// write writes as it is, and returns the reply.
func (d *device) write(s string) string {
	_, _ = io.WriteString(d.nc, s)
	return d.reply()
}

// failure is what `smtp test` says of an account.
func (v *visit) failure(account string) string {
	v.t.Helper()
	var result operate.VerifyResult
	v.ask(v.t, http.MethodPost, "/smtp/accounts/"+account+"/verify", &result)
	if result.OK || result.Explanation == nil {
		return ""
	}
	return result.Explanation.ID
}
