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
	"bytes"
	"net"
	"strconv"
	"strings"
)

// caps are the service extensions that the provider announced.
type caps struct {
	pipelining  bool
	chunking    bool
	eightBit    bool
	binary      bool
	utf8        bool
	dsn         bool
	startTLS    bool
	size        bool
	maxSize     int64
	auth        bool
	authXOAUTH2 bool
	authBearer  bool
	authPlain   bool
	authLogin   bool
}

// line takes one keyword of the reply to EHLO (RFC 5321 section 4.1.1.1).
func (c *caps) line(text []byte) {
	keyword, params, _ := bytes.Cut(text, []byte(" "))
	// Some old servers write `AUTH=LOGIN`, alone or in addition.
	if len(keyword) > 5 && bytes.EqualFold(keyword[:5], []byte("AUTH=")) {
		c.mechanisms(keyword[5:])
		c.mechanisms(params)
		return
	}
	switch string(bytes.ToUpper(keyword)) {
	case "PIPELINING":
		c.pipelining = true
	case "CHUNKING":
		c.chunking = true
	case "8BITMIME":
		c.eightBit = true
	case "8": // `8 BITMIME`, as Yahoo has written it
		c.eightBit = c.eightBit || bytes.EqualFold(params, []byte("BITMIME"))
	case "BINARYMIME":
		c.binary = true
	case "SMTPUTF8":
		c.utf8 = true
	case "DSN":
		c.dsn = true
	case "STARTTLS":
		c.startTLS = true
	case "SIZE":
		c.size = true
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(params)), 10, 64); err == nil && n > 0 {
			c.maxSize = n
		}
	case "AUTH":
		c.mechanisms(params)
	}
}

func (c *caps) mechanisms(list []byte) {
	for m := range bytes.FieldsSeq(list) {
		c.auth = true
		switch string(bytes.ToUpper(m)) {
		case "XOAUTH2":
			c.authXOAUTH2 = true
		case "OAUTHBEARER":
			c.authBearer = true
		case "PLAIN":
			c.authPlain = true
		case "LOGIN":
			c.authLogin = true
		}
	}
}

// offers reports whether the provider announced the mechanism.
func (c *caps) offers(mechanism string) bool {
	switch mechanism {
	case XOAUTH2:
		return c.authXOAUTH2
	case OAuthBearer:
		return c.authBearer
	case AuthPlain:
		return c.authPlain
	case AuthLogin:
		return c.authLogin
	}
	return false
}

// ehlo introduces the gateway. There is no HELO: without EHLO there is no AUTH.
func (c *Conn) ehlo() error {
	code, err := c.command([]byte("EHLO " + c.helloName() + "\r\n"))
	if err != nil {
		return err
	}
	c.caps = caps{}
	if code != 250 {
		return c.Said()
	}
	first := true
	c.replies.Lines(func(text []byte) {
		if !first {
			c.caps.line(text)
		}
		first = false
	})
	c.cfg.Learned.apply(&c.caps)
	return nil
}

// ehloAgain introduces the gateway once more where nothing at all was announced:
// what answered may have been a reply to nothing, and EHLO's own is behind it.
func (c *Conn) ehloAgain() error {
	if c.caps != (caps{}) {
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
