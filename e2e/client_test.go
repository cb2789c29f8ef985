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

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is a plain SMTP client that shows every reply as it came.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// reply is one reply: its code, and its lines without the code.
type reply struct {
	code  int
	lines []string
}

func (r reply) String() string { return strconv.Itoa(r.code) + " " + strings.Join(r.lines, "|") }

func (w *world) dial() *client {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, conn: conn, r: bufio.NewReader(conn)}
	// A test that hangs is a test that fails; nothing depends on the value.
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	w.t.Cleanup(func() { conn.Close() })
	c.expect(220)
	c.cmd("EHLO client.test", 250)
	return c
}

// login is dial and AUTH PLAIN.
func (w *world) login() *client {
	w.t.Helper()
	c := w.dial()
	c.cmd("AUTH PLAIN "+plain(testUser, testPassword), 235)
	return c
}

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

func (c *client) readReply() (reply, error) {
	var rep reply
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return rep, err
		}
		line = strings.TrimSuffix(line, "\r\n")
		if len(line) < 3 {
			return rep, fmt.Errorf("malformed reply line %q", line)
		}
		code, err := strconv.Atoi(line[:3])
		if err != nil {
			return rep, fmt.Errorf("malformed reply line %q", line)
		}
		rep.code = code
		if len(line) == 3 {
			return rep, nil
		}
		rep.lines = append(rep.lines, line[4:])
		if line[3] == ' ' {
			return rep, nil
		}
	}
}

func (c *client) expect(code int) reply {
	c.t.Helper()
	rep, err := c.readReply()
	if err != nil {
		c.t.Fatalf("reading a reply, wanted %d: %v", code, err)
	}
	if rep.code != code {
		c.t.Fatalf("got reply %q, wanted %d", rep, code)
	}
	return rep
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(s)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) cmd(line string, code int) reply {
	c.t.Helper()
	c.write(line + "\r\n")
	return c.expect(code)
}

// dotStuff returns the body as DATA sends it. The body must be empty or end in CRLF.
func dotStuff(body []byte) []byte {
	out := bytes.ReplaceAll(body, []byte("\r\n."), []byte("\r\n.."))
	if bytes.HasPrefix(out, []byte(".")) {
		out = append([]byte("."), out...)
	}
	return append(out, ".\r\n"...)
}

// data sends a body with DATA and returns the final reply.
func (c *client) data(body []byte) reply {
	c.t.Helper()
	c.cmd("DATA", 354)
	c.write(string(dotStuff(body)))
	rep, err := c.readReply()
	if err != nil {
		c.t.Fatalf("reading the final reply: %v", err)
	}
	return rep
}

// bdat sends a body in chunks of at most size bytes and returns the final reply.
func (c *client) bdat(body []byte, size int) reply {
	c.t.Helper()
	for len(body) > size {
		c.write(fmt.Sprintf("BDAT %d\r\n%s", size, body[:size]))
		c.expect(250)
		body = body[size:]
	}
	c.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
	rep, err := c.readReply()
	if err != nil {
		c.t.Fatalf("reading the final reply: %v", err)
	}
	return rep
}

// send is one whole message to one recipient over DATA.
func (c *client) send(body string) reply {
	c.t.Helper()
	c.cmd("MAIL FROM:<"+testUser+">", 250)
	c.cmd("RCPT TO:<someone@example.net>", 250)
	return c.data([]byte(body))
}
