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
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// pieces is a connection whose reads return one piece each, and then an error.
type pieces struct {
	net.Conn
	left []string
	err  error
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, p.err
	}
	n := copy(b, p.left[0])
	if p.left[0] = p.left[0][n:]; p.left[0] == "" {
		p.left = p.left[1:]
	}
	return n, nil
}

// TestProxyLineInPieces gathers a PROXY header, and nothing else.
func TestProxyLineInPieces(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.1 192.0.2.2 40000 587\r\n"
	for _, tt := range []struct {
		pieces []string
		first  string
	}{
		{[]string{header}, header},
		{[]string{"PROXY TCP4 192.0.2.1 ", "192.0.2.2 40000 587\r\n"}, header},
		{strings.Split(header, ""), header},
		{[]string{header[:len(header)-1], "\n", "EHLO x\r\n"}, header},
		{[]string{"PR", "AY\r\n", "x"}, "PRAY\r\n"},
		{[]string{"EHLO", " x\r\n"}, "EHLO"},
		{[]string{"PROXY UNKNOWN"}, "PROXY UNKNOWN"}, // the error is the next read's
		{[]string{"PROXY " + strings.Repeat("x", 100), "y", "z"}, "PROXY " + strings.Repeat("x", 100) + "y"},
		{[]string{"\r\n\r\n\x00\r\nQUIT\n", "x"}, "\r\n\r\n\x00\r\nQUIT\n"},
	} {
		under := &pieces{left: append([]string(nil), tt.pieces...), err: io.ErrUnexpectedEOF}
		c := &placedConn{Conn: under}
		b := make([]byte, 256)
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != tt.first {
			t.Errorf("%q: %q, %v", tt.pieces, b[:n], err)
		}
		rest, err := io.ReadAll(c)
		if got := tt.first + string(rest); got != strings.Join(tt.pieces, "") || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: in all %q, %v", tt.pieces, got, err)
		}
	}
	c := &placedConn{Conn: &pieces{left: []string{"PROXY TCP4"}, err: io.EOF}}
	if n, err := c.Read(make([]byte, 4)); n != 4 || err != nil {
		t.Errorf("a small buffer: %d, %v", n, err)
	}
}

// socket is what a client has connected to.
type socket struct {
	net.Conn
	remote net.Addr
}

func (c socket) RemoteAddr() net.Addr { return c.remote }

// said is a connection whose address is another's word, as a listener wrapper has it.
type said struct {
	net.Conn
	remote net.Addr
}

func (c said) Raw() net.Conn        { return c.Conn }
func (c said) RemoteAddr() net.Addr { return c.remote }

// TestWhoTheClientIs takes a client's address in the forms that there are. Networks of
// the configuration have no zone, and a proxy's word on a unix socket is about a
// machine that is not ours.
func TestWhoTheClientIs(t *testing.T) {
	tcp := func(ip, zone string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000, Zone: zone} }
	unix := &net.UnixAddr{Name: "/run/proxy.sock", Net: "unix"}
	for name, tc := range map[string]struct {
		nc     net.Conn
		remote string
		local  bool
	}{
		"IPv4":                     {socket{nil, tcp("192.0.2.1", "")}, "192.0.2.1", false},
		"IPv4 on an IPv6 socket":   {socket{nil, tcp("::ffff:192.0.2.1", "")}, "192.0.2.1", false},
		"link-local":               {socket{nil, tcp("fe80::1", "eth0")}, "fe80::1", false},
		"unix socket":              {socket{nil, unix}, "invalid IP", true},
		"behind a proxy":           {said{socket{nil, tcp("198.51.100.1", "")}, tcp("192.0.2.1", "")}, "192.0.2.1", false},
		"unix, behind a proxy":     {said{socket{nil, tcp("198.51.100.1", "")}, unix}, "198.51.100.1", false},
		"behind a proxy by unix":   {said{socket{nil, unix}, tcp("192.0.2.1", "")}, "192.0.2.1", false},
		"unix, by a proxy by unix": {said{socket{nil, unix}, unix}, "invalid IP", true},
	} {
		if c := newConn(nil, tc.nc); c.Remote.String() != tc.remote || c.Local != tc.local {
			t.Errorf("%s: %v, local %v, want %s, %v", name, c.Remote, c.Local, tc.remote, tc.local)
		}
	}
}
