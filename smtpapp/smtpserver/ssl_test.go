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
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	// sslv2Hello is a ClientHello in the form of SSL 2.0 that offers up to TLS 1.0, as
	// OpenSSL 0.9.8 and Java 6 send it; sslv2Only offers SSL 2.0 alone.
	sslv2Hello = "\x80\x25\x01\x03\x01\x00\x0c\x00\x00\x00\x10" +
		"\x00\x00\x2f\x00\x00\x0a\x07\x00\xc0\x00\x00\x05" + "0123456789abcdef"
	sslv2Only = "\x80\x1f\x01\x00\x02\x00\x06\x00\x00\x00\x10" + "\x07\x00\xc0\x01\x00\x80" + "0123456789abcdef"
	// sslv3Hello offers SSL 3.0 with RC4 and 3DES.
	sslv3Hello = "\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00" + "0123456789abcdef0123456789abcdef" + "\x00\x00\x04\x00\x05\x00\x0a\x01\x00"
)

// TestSSLHellos has devices begin with the hellos of SSL 2.0 and 3.0, where a
// handshake belongs and where it does not. They are told apart at once: such a device
// waits for an answer, and without one nothing says what is wrong.
func TestSSLHellos(t *testing.T) {
	for name, tc := range map[string]struct {
		script   string
		implicit bool
		cause    Cause
		detail   string
	}{
		"2.0 form":             {sslv2Hello, true, CauseTLSVersion, "SSLv2"},
		"2.0 only":             {sslv2Only, true, CauseTLSVersion, "SSLv2"},
		"3.0":                  {sslv3Hello, true, CauseTLSVersion, "SSL 3.0"},
		"2.0 form, STARTTLS":   {"EHLO c\r\nSTARTTLS\r\n|" + sslv2Hello, false, CauseTLSVersion, "SSLv2"},
		"3.0, STARTTLS":        {"EHLO c\r\nSTARTTLS\r\n|" + sslv3Hello, false, CauseTLSVersion, "SSL 3.0"},
		"2.0 form, no TLS yet": {sslv2Hello, false, CauseTLSOnPlainPort, ""},
		"2.0 only, no TLS yet": {sslv2Only, false, CauseTLSOnPlainPort, ""},
		"3.0, no TLS yet":      {sslv3Hello, false, CauseTLSOnPlainPort, ""},
		"2.0 form, by octets":  {"/" + sslv2Hello, false, CauseTLSOnPlainPort, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pair := testCertificate()
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				s := &recorder{cfg: tolerantConfig()}
				cfg := &tls.Config{Certificates: []tls.Certificate{pair}}
				if tc.implicit {
					s.cfg.ImplicitTLS = cfg
				} else {
					s.cfg.StartTLS = cfg
				}
				s.cfg.Prepare()
				go func() {
					if octets, ok := strings.CutPrefix(tc.script, "/"); ok {
						for _, o := range []byte(octets) {
							if _, err := far.Write([]byte{o}); err != nil {
								return
							}
						}
						return
					}
					for part := range strings.SplitSeq(tc.script, "|") {
						if _, err := io.WriteString(far, part); err != nil {
							return
						}
						synctest.Wait()
					}
				}()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				start := time.Now()
				New(near, s, s.cfg, nil).Serve()
				_ = far.Close()
				if took := time.Since(start); took > 0 {
					t.Errorf("took %v", took)
				}
				if len(s.refusals) != 1 || s.refusals[0].Cause != tc.cause || !strings.Contains(s.refusals[0].Detail, tc.detail) {
					t.Errorf("%+v, want %s with %q", s.refusals, tc.cause, tc.detail)
				}
			})
		})
	}
}

// TestNoHandshake has clients of a port for SSL/TLS that say nothing, or half a
// hello, and stay or go. A device that waits for a greeting is not there for a moment
// only, as health checks are.
func TestNoHandshake(t *testing.T) {
	for _, tc := range []struct {
		says   string
		stays  time.Duration
		cause  Cause
		detail string
	}{
		{"", 0, "", ""},
		{"", 100 * time.Millisecond, "", ""},
		{"", 5 * time.Second, CausePlaintextOnTLSPort, "said nothing, and left after 5s"},
		{"", 29 * time.Second, CausePlaintextOnTLSPort, "said nothing, and left after 29s"},
		{"", time.Hour, CausePlaintextOnTLSPort, "said nothing"},
		{sslv3Hello[:20], 0, CauseTLSFailed, "EOF"},
		{sslv3Hello[:20], time.Hour, CauseTLSFailed, "did not get on"},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			s := &recorder{cfg: tolerantConfig()}
			s.cfg.ImplicitTLS = new(tls.Config)
			s.cfg.Prepare()
			var client sync.WaitGroup
			defer client.Wait()
			client.Go(func() {
				_, _ = io.WriteString(far, tc.says)
				time.Sleep(tc.stays)
				_ = far.Close()
			})
			New(near, s, s.cfg, nil).Serve()
			if tc.cause == "" && len(s.refusals) > 0 || tc.cause != "" && (len(s.refusals) != 1 ||
				s.refusals[0].Cause != tc.cause || !strings.Contains(s.refusals[0].Detail, tc.detail)) {
				t.Errorf("says %q, stays %v: %+v", tc.says, tc.stays, s.refusals)
			}
		})
	}
}
