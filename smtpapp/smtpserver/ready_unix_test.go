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

//go:build unix

package smtpserver

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/relay"
)

// TestFinalWordIsSaid looks at the client as its message's last word leaves, by the
// read that follows it: the client always hears it, and whether it had left, or had
// said more, is seen as it was before.
func TestFinalWordIsSaid(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	word := string(relay.ReplyOK.Append(nil))
	for name, tc := range map[string]struct {
		before func(w *wire, client *net.TCPConn) // the word
		after  func(w *wire, client *net.TCPConn) // it
		wrap   bool
		ahead  bool
		read   string
		want   error
	}{
		"goes on":                    {after: func(_ *wire, c *net.TCPConn) { _, _ = io.WriteString(c, "MAIL") }, read: "MAIL"},
		"leaves":                     {after: func(_ *wire, c *net.TCPConn) { _ = c.CloseWrite() }, want: io.EOF},
		"is drained":                 {after: func(w *wire, _ *net.TCPConn) { w.drain(nil) }, want: errDraining},
		"had gone":                   {before: func(_ *wire, c *net.TCPConn) { _ = c.CloseWrite() }, ahead: true, want: io.EOF},
		"had said more":              {before: func(_ *wire, c *net.TCPConn) { _, _ = io.WriteString(c, "MAIL") }, ahead: true, read: "MAIL"},
		"had been drained":           {before: func(w *wire, _ *net.TCPConn) { w.drain(nil) }, want: errDraining},
		"had gone, behind a wrapper": {before: func(_ *wire, c *net.TCPConn) { _ = c.CloseWrite() }, wrap: true, ahead: true, want: io.EOF},
		"goes on, behind a wrapper":  {after: func(_ *wire, c *net.TCPConn) { _, _ = io.WriteString(c, "MAIL") }, wrap: true, read: "MAIL"},
		"is idle for too long":       {want: errIdle},
	} {
		t.Run(name, func(t *testing.T) {
			dialed, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			client := dialed.(*net.TCPConn)
			defer client.Close()
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if tc.wrap {
				nc = wrapped{nc}
			}
			var w wire
			w.init(nc)
			defer w.release()
			if w.idle = 10 * time.Second; tc.want == errIdle { //nolint:errorlint // a mark
				w.idle = 50 * time.Millisecond
			}
			if tc.before != nil {
				tc.before(&w, client)
				for deadline := time.Now().Add(10 * time.Second); tc.ahead && !readable(nc); {
					if time.Now().After(deadline) {
						t.Fatal("it has not come")
					}
					time.Sleep(time.Millisecond)
				}
			}
			w.reply(relay.ReplyOK)
			w.look = true
			heard := make(chan string, 1)
			go func() {
				b := make([]byte, len(word))
				_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, _ := io.ReadFull(client, b)
				heard <- string(b[:n])
				if tc.after != nil {
					tc.after(&w, client)
				}
			}()
			p := make([]byte, 16)
			n, err := w.readInto(p, true)
			if tc.want == errIdle && isTimeout(err) { //nolint:errorlint // a mark
				err = errIdle
			}
			if string(p[:n]) != tc.read || !errors.Is(err, tc.want) {
				t.Errorf("read %q, %v, want %q, %v", p[:n], err, tc.read, tc.want)
			}
			// What a drain finds queued leaves with its own word.
			if err := w.flush(); err != nil {
				t.Error(err)
			}
			if got := <-heard; got != word {
				t.Errorf("the client heard %q, want %q", got, word)
			}
			if w.ahead != tc.ahead {
				t.Errorf("ahead: %v, want %v", w.ahead, tc.ahead)
			}
		})
	}
}

var errIdle = errors.New("idle")

// wrapped is a connection of a listener wrapper.
type wrapped struct{ net.Conn }

func (w wrapped) Raw() net.Conn { return w.Conn }
