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

package smtpclient

import (
	"net"
	"strings"

	"github.com/caddymail/mailgateway/upstreampool/smtpclient/extensions"
)

// ehlo introduces the gateway. There is no HELO: without EHLO there is no AUTH.
func (c *Conn) ehlo() error {
	code, err := c.command([]byte("EHLO " + c.helloName() + "\r\n"))
	if err != nil {
		return err
	}
	c.caps = extensions.Set{}
	if code != 250 {
		return c.Said()
	}
	c.caps = c.announced()
	c.cfg.Learned.apply(&c.caps)
	return nil
}

// announced reads the last reply as one to EHLO.
func (c *Conn) announced() (set extensions.Set) {
	first := true
	c.replies.Lines(func(text []byte) {
		if !first {
			set.Line(text)
		}
		first = false
	})
	return set
}

// ehloAgain introduces the gateway once more where nothing at all was announced:
// what answered may have been a reply to nothing, and EHLO's own is behind it.
func (c *Conn) ehloAgain() error {
	if c.caps != (extensions.Set{}) {
		return nil
	}
	return c.ehlo()
}

// Qualified reports whether a name can be that of a host in the Internet's eyes.
func Qualified(name string) bool {
	return strings.Contains(strings.Trim(name, "."), ".") || strings.HasPrefix(name, "[")
}

// helloName is the name in EHLO: the one that is configured, else an address
// literal (RFC 5321 section 4.1.4) where the system has a short name only, which
// providers refuse.
func (c *Conn) helloName() string {
	if c.cfg.Named || Qualified(c.cfg.Hostname) {
		return c.cfg.Hostname
	}
	return literal(c.tcp.LocalAddr(), c.cfg.Hostname)
}

func literal(a net.Addr, fallback string) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp.IP == nil {
		return fallback
	}
	if v4 := tcp.IP.To4(); v4 != nil {
		return "[" + v4.String() + "]"
	}
	return "[IPv6:" + tcp.IP.String() + "]"
}
