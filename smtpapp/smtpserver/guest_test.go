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
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

// TestHastyTalker sends its mail with the hello, early or late: where trust lets
// in, it is not obeyed, whichever of the two ways it is found out.
func TestHastyTalker(t *testing.T) {
	const page = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
	for _, hello := range []string{"EHLO x\r\n", "HELO x\r\n", "RSET\r\nEHLO x\r\n"} {
		for _, waits := range []bool{false, true} {
			for _, trusted := range []bool{false, true} {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s := &recorder{cfg: tolerantConfig(), network: Network{Trusted: trusted}, trusting: true}
				end := make(chan End, 1)
				go func() {
					server, err := ln.Accept()
					if err != nil {
						end <- EndIO
						return
					}
					end <- New(server, s, s.cfg, nil).Serve()
				}()
				client, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				out := make([]byte, 0, 512)
				if waits {
					for !slices.Contains(out, '\n') {
						n, err := client.Read(out[len(out):cap(out)])
						if err != nil {
							t.Fatal(err)
						}
						out = out[:len(out)+n]
					}
				}
				if _, err := io.WriteString(client, hello+page); err != nil {
					t.Fatal(err)
				}
				rest, _ := io.ReadAll(client)
				out = append(out, rest...)
				got := <-end
				_, _ = client.Close(), ln.Close()
				if trusted && (got != EndErrors || len(s.bodies) > 0 || !slices.Equal(s.causes(), []Cause{CauseEarlyTalker}) ||
					!strings.Contains(string(out), "421 4.7.0 ")) || !trusted && (got != EndQuit || len(s.bodies) != 1) {
					t.Errorf("trusted %v, waits %v, %q: %s, %v, %d messages, %q", trusted, waits, hello, got, s.causes(), len(s.bodies), out)
				}
			}
		}
	}
}
