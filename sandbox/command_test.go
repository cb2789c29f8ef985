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

package sandbox

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"FROM:<>", "FROM:<a@b>", "TO:<\"a\\\" b\"@c> NOTIFY=NEVER", "to:<postmaster>", "FROM:<a@b> SIZE=1 BODY=8BITMIME", "FROM:<@a:b@c>", "FROM:<", "TO:<a@b>  X"} {
		f.Add([]byte(s))
	}
	st, err := newSettings(new(App))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []string{"FROM:", "TO:"} {
			path, params, ok := parsePath(b, k)
			if !ok {
				continue
			}
			if bytes.ContainsAny(path, "\r\n\x00") || len(path) > 254 {
				t.Fatalf("%q from %q", path, b)
			}
			if !bytes.Contains(b, path) || !bytes.HasSuffix(b, params) {
				t.Fatalf("%q and %q are not of %q", path, params, b)
			}
			st.parseMailParams(params)
			st.parseRcptParams(params)
		}
		parseVerb(b)
		if n, _, ok := parseBDAT(b); ok && n < 0 {
			t.Fatalf("%d from %q", n, b)
		}
		parseXOAuth2(b)
		parseOAuthBearer(b)
	})
}

// FuzzSession feeds whole sessions: no panic, no hang, and no message without
// a sender, a recipient and an authenticated mailbox.
func FuzzSession(f *testing.F) {
	const login = "EHLO x\r\nAUTH PLAIN AGEAcA==\r\n"
	f.Add([]byte(login + "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"))
	f.Add([]byte(login + "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\nRSET\r\nNOOP\r\n"))
	f.Add([]byte(login + "MAIL FROM:<a@b> SIZE=3\r\nRCPT TO:<reject-a@b>\r\nBDAT 3 LAST\r\nabc"))
	f.Add([]byte("EHLO x\r\nAUTH XOAUTH2\r\ndXNlcj1hAWF1dGg9QmVhcmVyIHgBAQ==\r\n\r\nAUTH LOGIN\r\n*\r\nSTARTTLS\r\n"))
	s, err := newSandbox(&App{PlaintextAuth: true, Password: "p", KeepMessages: 100}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	s.httpLn, err = net.Listen("tcp", "127.0.0.1:0") // for its address
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.httpLn.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		s.DeleteMessages()
		ours, theirs := net.Pipe()
		c := newConn(s, theirs, false)
		done := make(chan struct{})
		go func() { defer close(done); c.serve() }()
		go func() {
			r := bufio.NewReader(ours)
			_, _ = io.Copy(io.Discard, r)
		}()
		_ = ours.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = ours.Write(b)
		ours.Close()
		<-done
		for _, m := range s.Messages() {
			if m.Mailbox == "" || len(m.Rcpts) == 0 || m.Size > int64(len(b)) {
				t.Fatalf("%+v from %q", m, b)
			}
		}
	})
}
