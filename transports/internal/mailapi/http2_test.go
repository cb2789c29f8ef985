// Copyright 2026 The Mailgateway Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//	http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package mailapi

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// framed is a connection of HTTP/2 at the server.
type framed struct {
	*http2.Framer
	w *wire
	// pings are answered.
	pings bool
	conn  int // which of the server's it is, from 0
}

// newWire2 is a server of HTTP/2 over TLS whose connections a function serves. The
// window of a connection is as small as a new one's.
func newWire2(t *testing.T, serve func(f *framed)) (*wire, *Upstream) {
	t.Helper()
	cert := testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}, Trusted: true})
	var mu sync.Mutex
	conns := 0
	w := newWire(t, func(w *wire, c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
		if _, err := io.ReadFull(s, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := &framed{Framer: http2.NewFramer(s, s), w: w, pings: true}
		mu.Lock()
		f.conn = conns
		conns++
		mu.Unlock()
		if f.WriteSettings() == nil {
			serve(f)
		}
	})
	w.url = strings.Replace(w.url, "http:", "https:", 1)
	return w, posting(t, w.url, false, 30*time.Second, testpki.Trust(cert))
}

// until reads frames until a request's head, or its end.
func (f *framed) until(end bool) (stream uint32, ok bool) {
	var body []byte
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return 0, false
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !fr.IsAck() && f.pings {
				_ = f.WritePing(true, fr.Data)
			}
		case *http2.HeadersFrame:
			f.w.mu.Lock()
			f.w.heads++
			f.w.mu.Unlock()
			if !end {
				return fr.StreamID, true
			}
		case *http2.DataFrame:
			body = append(body, fr.Data()...)
			if fr.StreamEnded() {
				f.w.mu.Lock()
				f.w.taken[string(body[:min(len(body), 40)])]++
				f.w.mu.Unlock()
				return fr.StreamID, true
			}
			if n := uint32(len(fr.Data())); n > 0 { //nolint:gosec // a frame
				_ = f.WriteWindowUpdate(0, n)
				_ = f.WriteWindowUpdate(fr.StreamID, n)
			}
		}
	}
}

// answer writes the head of an answer.
func (f *framed) answer(stream uint32, status string, end bool) {
	var b strings.Builder
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(b.String()), EndHeaders: true, EndStream: end})
}

// TestFrames holds what frames of HTTP/2 do to a message: a stream that is refused,
// a connection that goes away. Go's transport may make such a request anew where
// nothing of its body was read, and must not otherwise.
func TestFrames(t *testing.T) {
	small, large := "message", strings.Repeat("0123456789", 100<<10)
	for name, tc := range map[string]struct {
		msg   string
		end   bool // the whole request is read first
		act   func(f *framed, stream uint32)
		want  string
		taken int
	}{
		"refused at the head":   {large, false, func(f *framed, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeRefusedStream); f.until(true) }, "451 4.4.1", 0},
		"refused at the end":    {small, true, func(f *framed, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeRefusedStream); f.until(true) }, "451 4.4.2", 1},
		"canceled at the head":  {large, false, func(f *framed, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeCancel); f.until(true) }, "451 4.4.1", 0},
		"an internal error":     {small, true, func(f *framed, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeInternal); f.until(true) }, "451 4.4.2", 1},
		"calm":                  {small, true, func(f *framed, s uint32) { _ = f.WriteRSTStream(s, http2.ErrCodeEnhanceYourCalm); f.until(true) }, "451 4.4.2", 1},
		"gone away at the head": {large, false, func(f *framed, _ uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil); f.until(true) }, "451 4.4.1", 0},
		"gone away at the end":  {small, true, func(f *framed, _ uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil); f.until(true) }, "451 4.4.2", 1},
		"gone away, and answered": {small, true, func(f *framed, s uint32) {
			_ = f.WriteGoAway(s, http2.ErrCodeNo, nil)
			f.answer(s, "202", true)
			f.until(true)
		}, "250 ", 1},
		"gone away, and closed": {small, true, func(f *framed, s uint32) { _ = f.WriteGoAway(s, http2.ErrCodeNo, nil) }, "451 4.4.2", 1},
		"closed":                {small, true, func(*framed, uint32) {}, "451 4.4.2", 1},
		"closed at the head":    {large, false, func(*framed, uint32) {}, "451 4.4.1", 0},
		"answered, and reset": {small, true, func(f *framed, s uint32) {
			f.answer(s, "202", false)
			_ = f.WriteRSTStream(s, http2.ErrCodeCancel)
			f.until(true)
		}, "250 ", 1},
		"refused before the body": {large, false, func(f *framed, s uint32) {
			f.answer(s, "413", true)
			_ = f.WriteRSTStream(s, http2.ErrCodeNo)
			f.until(true)
		}, "554 5.0.0 HTTP 413", 0},
		"acknowledged before it came": {large, false, func(f *framed, s uint32) {
			f.answer(s, "202", true)
			_ = f.WriteRSTStream(s, http2.ErrCodeNo)
			f.until(true)
		}, "451 4.4.2", 0},
		"taken": {large, true, func(f *framed, s uint32) { f.answer(s, "202", true); f.until(true) }, "250 ", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, u := newWire2(t, func(f *framed) {
				if s, ok := f.until(tc.end); ok {
					tc.act(f, s)
				}
			})
			got := post(t, u, "box@example.com", tc.msg)
			if heads, taken := w.counts(tc.msg); !strings.HasPrefix(got, tc.want) || taken != tc.taken || heads > 2 {
				t.Errorf("%s, want %s; %d requests, %d whole", got, tc.want, heads, taken)
			}
		})
	}
}

// TestDeadConnection: a connection that died without a word costs the messages on
// it, not those that come after.
func TestDeadConnection(t *testing.T) {
	w, u := newWire2(t, func(f *framed) {
		f.pings = f.conn > 0
		for {
			s, ok := f.until(true)
			if !ok {
				return
			}
			if f.conn > 0 {
				f.answer(s, "202", true)
			}
		}
	})
	tr := u.http.Transport.(*http.Transport) //nolint:forcetypeassert // newHTTP's
	if ask := tr.HTTP2.SendPingTimeout + tr.HTTP2.PingTimeout; tr.HTTP2.SendPingTimeout == 0 || ask >= time.Minute {
		t.Fatalf("a dead connection is noticed after %v", ask)
	}
	tr.HTTP2.SendPingTimeout, tr.HTTP2.PingTimeout = 500*time.Millisecond, time.Second
	for i, want := range []string{"451 4.4.2", "250 ", "250 "} {
		msg := fmt.Sprint("message ", i)
		got := post(t, u, fmt.Sprintf("box%d@example.com", i), msg)
		if _, taken := w.counts(msg); !strings.HasPrefix(got, want) || taken != 1 {
			t.Errorf("message %d: %s, want %s; taken %d times", i, got, want, taken)
		}
	}
}
