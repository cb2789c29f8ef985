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

package smtpserver

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// readAhead is a connection as a listener wrapper makes it that has read ahead:
// what the client sent behind the header is in its own buffer, and the socket
// beneath is empty.
type readAhead struct {
	net.Conn
	ahead io.Reader
	did   []string
}

func (c *readAhead) Raw() net.Conn { return c.Conn }

func (c *readAhead) Read(p []byte) (int, error) {
	c.did = append(c.did, "read")
	if n, _ := c.ahead.Read(p); n > 0 {
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *readAhead) Write(p []byte) (int, error) {
	c.did = append(c.did, "write")
	return c.Conn.Write(p)
}

func (c *readAhead) SetReadDeadline(t time.Time) error {
	c.did = append(c.did, "deadline")
	return c.Conn.SetReadDeadline(t)
}

// TestHelloAtTheEndOfARead has a trusted client send its mail along with a hello
// that is the end of what is read at once, as what it says before that can bring
// about: nothing of the mail is in the buffer then, and nothing in the socket.
func TestHelloAtTheEndOfARead(t *testing.T) {
	const page = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
	for _, before := range []string{
		"NOOP", "NOOP " + strings.Repeat("x", 1400), "nonsense", strings.Repeat("x", 2*maxAuthCommand), "EHLO " + strings.Repeat("x", 300),
	} {
		client, server := tcpPair(t)
		s := &recorder{cfg: tolerantConfig(), network: Network{Trusted: true}, trusting: true}
		ahead := io.MultiReader(strings.NewReader(before+"\r\nEHLO x\r\n"), strings.NewReader(page))
		end := New(&readAhead{Conn: server, ahead: ahead}, s, s.cfg, nil).Serve()
		out, _ := io.ReadAll(client)
		_ = client.Close()
		if end != EndErrors || len(s.bodies) > 0 || s.causes()[len(s.causes())-1] != CauseEarlyTalker || !bytes.Contains(out, []byte("421 4.7.0 ")) {
			t.Errorf("%.12q: %s, %v, %d messages, %q", before, end, s.causes(), len(s.bodies), out)
		}
	}
}

// TestGreetingWaitsForNothing serves a trusted client that waits for the greeting:
// it is said before anything is waited for, and so is the answer to its hello.
func TestGreetingWaitsForNothing(t *testing.T) {
	client, server := tcpPair(t)
	s := &recorder{cfg: tolerantConfig(), network: Network{Trusted: true}, trusting: true}
	nc := &readAhead{Conn: server, ahead: strings.NewReader("")}
	done := make(chan End, 1)
	go func() { done <- New(nc, s, s.cfg, nil).Serve() }()
	read := func() string {
		buf := make([]byte, 512)
		n, err := client.Read(buf)
		if err != nil {
			t.Error(err)
		}
		return string(buf[:n])
	}
	if got := read(); !strings.HasPrefix(got, "220 ") {
		t.Error(got)
	}
	for _, line := range []string{"HELO x\r\n", "QUIT\r\n"} {
		if _, err := io.WriteString(client, line); err != nil {
			t.Fatal(err)
		}
		read()
	}
	_ = client.Close()
	if end := <-done; end != EndQuit {
		t.Error(end, s.causes())
	}
	var writes []int
	for i, what := range nc.did {
		if what == "write" {
			writes = append(writes, i)
		}
	}
	if len(writes) != 3 || writes[0] != 0 || slices.Contains(nc.did[slices.Index(nc.did, "read")+1:writes[1]], "deadline") {
		t.Errorf("the connection was used as %v", nc.did)
	}
}
