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
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/caddymail/mailgateway/relay"
)

// aside is a connection beneath a listener wrapper.
type aside struct{ net.Conn }

func (c aside) Raw() net.Conn { return c.Conn }

// ending is a session that ends its connection within a message.
type ending struct {
	recorder
	end func() error
}

func (s *ending) Data(body io.Reader) (*relay.Reply, error) {
	reply, _ := s.recorder.Data(body)
	return reply, s.end()
}

// TestLastWordsArrive ends connections whose clients have sent more than was read. A
// socket that is closed then is reset, and many clients read nothing after that: not
// even that the message before was accepted, which they send again.
func TestLastWordsArrive(t *testing.T) {
	const message = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n"
	gone := &ClosingError{Reply: relay.ReplyLoginGone, End: "login_gone"}
	for _, wrapped := range []bool{false, true} {
		for name, tc := range map[string]struct {
			end  func(*Conn) error
			want string
		}{
			"drained":  {func(c *Conn) error { c.Drain(); return nil }, "250 2.0.0 taken\r\n421 4.3.2"},
			"ended":    {func(c *Conn) error { c.DrainWith(gone); return nil }, "250 2.0.0 taken\r\n421 4.7.0"},
			"refused":  {func(*Conn) error { return gone }, "421 4.7.0"},
			"HTTP":     {func(*Conn) error { return nil }, "421 4.7.0"},
			"an error": {func(*Conn) error { return nil }, "421 4.7.0"},
		} {
			t.Run(fmt.Sprint(name, wrapped), func(t *testing.T) {
				client, server := tcpPair(t)
				defer client.Close()
				if wrapped {
					server = aside{server}
				}
				s := &ending{recorder: recorder{cfg: tolerantConfig()}}
				c := New(server, s, s.cfg, nil)
				s.end = func() error { return tc.end(c) }
				next := "MAIL FROM:<a@b>\r\n"
				switch name {
				case "HTTP":
					next = "POST / HTTP/1.1\r\n"
				case "an error":
					next = strings.Repeat("nonsense\r\n", maxErrors)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.Serve()
				}()
				if _, err := io.WriteString(client, login+message+next+strings.Repeat("x", 500_000)); err != nil {
					t.Error(err)
				}
				_ = client.(*net.TCPConn).CloseWrite()
				out, err := io.ReadAll(client)
				if err != nil || !strings.Contains(string(out), tc.want) {
					t.Errorf("%v, %q", err, out)
				}
				<-done
			})
		}
	}
}
