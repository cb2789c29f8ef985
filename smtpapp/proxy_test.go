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

package smtpapp

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

// proxyHeader2 is a header of version 2 with one TLV.
func proxyHeader2(command byte, src string, tlv int) string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, 0x20|command, 0x11)
	b = binary.BigEndian.AppendUint16(b, uint16(12+3+tlv)) //nolint:gosec // as the tests have it
	b = append(append(b, src...), 192, 0, 2, 250)
	b = binary.BigEndian.AppendUint16(b, 40000)
	b = binary.BigEndian.AppendUint16(b, 587)
	b = append(b, 0x04)                               // PP2_TYPE_NOOP
	b = binary.BigEndian.AppendUint16(b, uint16(tlv)) //nolint:gosec // as the tests have it
	return string(append(b, make([]byte, tlv)...))
}

// proxyRefusals counts the headers that were refused.
func proxyRefusals() (n int) {
	for _, r := range processRefusals.List() {
		if r.Server == "proxied" && r.Cause == string(smtpserver.CauseProxyHeader) {
			n += r.Count
		}
	}
	return n
}

// TestProxyHeaderForms sends headers as a proxy may, in one piece or more, and
// as none should: those are in the log.
func TestProxyHeaderForms(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	mustLoad(t, caddyConfig(t, object{"servers": object{"proxied": object{
		"listen": []string{addr}, "tls": object{"mode": "off"},
		"trust": []any{object{"networks": []string{"192.0.2.0/24"}, "account": testUser}},
		"listener_wrappers": []any{object{
			"wrapper": "proxy_protocol", "allow": []string{"127.0.0.0/8"}, "fallback_policy": "SKIP", "timeout": "2s",
		}},
	}}}))
	defer stopCaddy(t)
	const header = "PROXY TCP4 192.0.2.7 192.0.2.250 40000 587\r\n"
	const mail = "S: 220 *\nC: EHLO c\nM: 250\nC: MAIL FROM:<a@example.com>\n"
	in, out := mail+"S: 250 *", mail+"S: 530 *"
	source := "\xc0\x00\x02\x07"
	pieces := func(s string, at int) []string { return []string{s[:at], s[at:]} }
	for name, tt := range map[string]struct {
		pieces []string
		script string // empty: the connection is closed, and that is in the log
	}{
		"whole":            {[]string{header}, in},
		"in two":           {pieces(header, 20), in},
		"in two, LF apart": {pieces(header, len(header)-1), in},
		"octets":           {strings.Split(header, ""), in},
		"version 2":        {[]string{proxyHeader2(1, source, 0)}, in},
		"version 2 in two": {pieces(proxyHeader2(1, source, 0), 14), in},
		"a TLV of 1 kB":    {pieces(proxyHeader2(1, source, 1000), 300), in},
		"LOCAL":            {[]string{proxyHeader2(0, source, 0)}, out},
		"UNKNOWN":          {[]string{"PROXY UNKNOWN\r\n"}, out},
		"mapped":           {[]string{"PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 587\r\n"}, in},
		"garbage":          {[]string{"PROXY TCP4 192.0.2.300 192.0.2.250 40000 587\r\n"}, ""},
		"no such family":   {[]string{"PROXY UDP4 192.0.2.7 192.0.2.250 40000 587\r\n"}, ""},
		"without end":      {[]string{"PROXY TCP4 " + strings.Repeat("1", 200)}, ""},
		"cut off":          {[]string{header[:20]}, ""},
		"a TLV of 40 kB":   {pieces(proxyHeader2(1, source, 40000), 300), ""},
		"wrong command":    {[]string{proxyHeader2(9, source, 0)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := proxyRefusals()
			c := dial(t, addr)
			for _, p := range tt.pieces {
				_, _ = io.WriteString(c.nc, p)   // what is too large is not read to its end
				time.Sleep(2 * time.Millisecond) // apart on the wire, most likely; both must do
			}
			if tt.script != "" {
				c.play(tt.script + "\nC: QUIT\nM: 221\nEOF")
				return
			}
			c.expectEOF()
			deadline := time.Now().Add(10 * time.Second)
			for proxyRefusals() == before {
				if time.Now().After(deadline) {
					t.Fatal("nothing in the log")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// TestProxyHeaderLate sends headers later than is waited for. Who they are about is not
// the proxy, whose network may be trusted: no word of such a client is obeyed.
func TestProxyHeaderLate(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	late, plain := freeAddr(t), freeAddr(t)
	trust := []any{object{"networks": []string{"127.0.0.0/8"}, "account": testUser}}
	mustLoad(t, caddyConfig(t, object{"servers": object{
		"proxied": object{
			"listen": []string{late}, "tls": object{"mode": "off"}, "trust": trust,
			"listener_wrappers": []any{object{
				"wrapper": "proxy_protocol", "allow": []string{"127.0.0.0/8"}, "fallback_policy": "SKIP", "timeout": "50ms",
			}},
		},
		"unproxied": object{"listen": []string{plain}, "tls": object{"mode": "off"}, "trust": trust},
	}}))
	defer stopCaddy(t)
	const header, mail = "PROXY TCP4 192.0.2.7 192.0.2.250 40000 587\r\n", "EHLO c\r\nMAIL FROM:<a@example.com>\r\n"
	for name, tt := range map[string]struct{ addr, before, after string }{
		"whole":         {late, "", header},
		"begun":         {late, "PROX", header[4:]},
		"UNKNOWN":       {late, "", "PROXY UNKNOWN\r\n"},
		"version 2":     {late, "", proxyHeader2(1, "\xc0\x00\x02\x07", 0)},
		"not named":     {plain, "", header},
		"not named, v2": {plain, "", proxyHeader2(1, "\xc0\x00\x02\x07", 0)},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(Refusals())
			c := dial(t, tt.addr)
			c.send(tt.before)
			c.expect("220 ") // the header is waited for no longer
			c.send(tt.after + mail)
			c.expect("421 4.7.0 ")
			c.expectEOF()
			if list := Refusals(); len(list) == 0 || list[0].Cause != string(smtpserver.CauseProxyHeader) {
				t.Errorf("%d refusals before, then %+v", before, list)
			}
		})
	}
	if n := len(caddyUpstream.taken()); n > 0 {
		t.Errorf("%d messages", n)
	}
}
