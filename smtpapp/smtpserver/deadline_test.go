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
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
)

// TestReadDeadlines holds that a read ends when it should, however few times
// the socket's deadline was moved, with TLS too.
func TestReadDeadlines(t *testing.T) {
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testReadDeadlines(t, secure) })
	}
}

func testReadDeadlines(t *testing.T, secure bool) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	var w wire
	w.init(near)
	if secure {
		pair := testCertificate()
		tc := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
		go func() { _ = tc.Handshake() }()
		if _, err := w.startTLS(&tls.Config{Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true}, time.Minute); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		far = tc
	}
	read := func(idle time.Duration) (int, time.Duration, error) {
		w.idle = idle
		start := time.Now()
		n, err := w.readInto(make([]byte, 8), true)
		return n, time.Since(start), err
	}
	say := func(after time.Duration) {
		go func() {
			time.Sleep(after)
			_, _ = io.WriteString(far, "x")
		}()
	}
	say(time.Second)
	if n, _, err := read(time.Minute); n != 1 || err != nil {
		t.Fatalf("TLS %v: %d, %v", secure, n, err)
	}
	before := w.readDeadline
	say(4 * time.Minute)
	if n, _, err := read(5 * time.Minute); n != 1 || err != nil {
		t.Fatalf("TLS %v: four minutes into five: %d, %v", secure, n, err)
	}
	if w.readDeadline.Equal(before) {
		t.Errorf("TLS %v: a read of five minutes ended with a deadline of one", secure)
	}
	for _, want := range []time.Duration{time.Minute, 5 * time.Minute, time.Second, time.Minute} {
		n, took, err := read(want)
		if n != 0 || !isTimeout(err) || took != want {
			t.Errorf("TLS %v: a read of %v took %v: %d, %v", secure, want, took, n, err)
		}
	}
	// A drain that crosses the client's words takes no time from what follows.
	go func() {
		synctest.Wait() // for the read
		w.mu.Lock()
		defer w.mu.Unlock()
		_, _ = io.WriteString(far, "x")
		w.draining = true
		_ = w.base.SetReadDeadline(time.Unix(1, 0))
	}()
	if n, _, err := read(time.Minute); n != 1 || err != nil {
		t.Fatalf("TLS %v: %d, %v", secure, n, err)
	}
	say(time.Second)
	if n, err := w.readInto(make([]byte, 8), false); n != 1 || err != nil {
		t.Errorf("TLS %v: within a message that goes on during a drain: %d, %v", secure, n, err)
	}
	if _, _, err := read(time.Minute); !errors.Is(err, errDraining) {
		t.Errorf("TLS %v: %v, want the drain", secure, err)
	}
}

// testCertificate is a certificate that signs itself.
func testCertificate() tls.Certificate {
	return testpki.SelfSigned(testpki.Leaf{Names: []string{"mail.test"}})
}
