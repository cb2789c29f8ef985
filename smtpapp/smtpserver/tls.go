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
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/smtpapp/smtpserver/pace"
)

// startTLS runs the handshake as the server. What came before it is gone: a
// man in the middle may have written it (CVE-2011-0411).
func (c *wire) startTLS(cfg *tls.Config, timeout time.Duration) (*handshake, error) {
	h := &handshake{Conn: c.nc, began: time.Now()}
	if err := c.flush(); err != nil {
		return h, err
	}
	c.discardInput()
	c.shrink()
	deadline := time.Now().Add(timeout)
	if err := c.beginHandshake(deadline); err != nil {
		return h, err
	}
	tc := tls.Server(h, cfg)
	err := apart(tc.Handshake)
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	if err != nil {
		c.discardInput()
		if isTimeout(err) && c.isDraining() {
			err = errDraining // no fault of the client's
		}
		return h, err
	}
	c.nc, c.below, c.raw = tc, h, waitable(h.Conn)
	h.stall = &c.stall
	state := tc.ConnectionState()
	c.tls = &state
	return h, nil
}

// apart runs a handshake on a goroutine of its own: it needs a deep stack, which
// the session's goroutine would keep for as long as the client stays, 10 KiB for
// each that is idle.
func apart(handshake func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errHandshakePanic
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%w: %v", errHandshakePanic, r)
			}
			done <- err
		}()
		err = handshake()
	}()
	return <-done
}

var errHandshakePanic = errors.New("the handshake panicked")

// beginHandshake sets the handshake's deadline. A drain cuts it short: nothing
// has been promised yet.
func (c *wire) beginHandshake(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return errDraining
	}
	c.waiting = true
	c.readDeadline, c.writeDeadline = deadline, deadline
	return c.base.SetDeadline(deadline)
}

// handshake is the connection beneath TLS. It remembers what the client offered:
// a failure is explained by it.
type handshake struct {
	net.Conn
	versions []uint16
	suites   []uint16
	seen     bool // the hello
	talked   bool // something was read
	began    time.Time
	ready    bool // reads only what is there, else errNotYet
	// stall is told what comes: a record shows only when it is whole.
	stall *pace.Watch
}

// Read implements net.Conn.
func (h *handshake) Read(p []byte) (int, error) {
	if h.ready && !readable(h.Conn) {
		return 0, errNotYet
	}
	n, err := h.Conn.Read(p)
	h.talked = h.talked || n > 0
	if h.stall != nil {
		h.stall.Got(n)
	}
	return n, err
}

// errNotYet is temporary and a timeout, so that crypto/tls goes on where it was at
// the next read, as it does after a deadline.
var errNotYet net.Error = notYetError{}

type notYetError struct{}

func (notYetError) Error() string   { return "nothing to read yet" }
func (notYetError) Timeout() bool   { return true }
func (notYetError) Temporary() bool { return true }

// watch makes a copy of a server's settings that tells handshake of the
// ClientHello. It is made once for all connections, since session tickets are
// only good for the settings they were made under.
func watch(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	inner := cfg.GetConfigForClient
	cfg = cfg.Clone()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if h, ok := hello.Conn.(*handshake); ok {
			h.seen, h.versions, h.suites = true, hello.SupportedVersions, hello.CipherSuites
		}
		if inner == nil {
			return nil, nil //nolint:nilnil // as GetConfigForClient has it
		}
		return inner(hello)
	}
	return cfg
}

// maxSuites bounds the cipher suites that are named.
const maxSuites = 16

func (h *handshake) offered() string {
	var b strings.Builder
	b.WriteString("offered")
	if len(h.versions) == 0 {
		b.WriteString(" SSL 3.0")
	}
	for _, v := range h.versions {
		b.WriteByte(' ')
		b.WriteString(tls.VersionName(v))
	}
	for i, s := range h.suites {
		if i == maxSuites {
			fmt.Fprintf(&b, " and %d more", len(h.suites)-i)
			break
		}
		b.WriteByte(' ')
		b.WriteString(tls.CipherSuiteName(s))
	}
	return b.String()
}

// moment is how long a client may stay that only looks whether somebody is there.
const moment = time.Second

// explain says why a handshake failed. It reports false for a client that left
// at once and without a word, as health checks do.
func (h *handshake) explain(err error, implicit bool) (Refusal, bool) {
	r := Refusal{Cause: CauseTLSFailed, Detail: err.Error()}
	var record tls.RecordHeaderError
	text := err.Error()
	switch {
	case errors.Is(err, errDraining):
		return r, false
	case errors.As(err, &record):
		return explainRecord(record, implicit), true
	case h.talked && !h.seen && isTimeout(err):
		r.Detail = "the client began a handshake and did not get on with it"
	case !h.talked && implicit && isTimeout(err):
		// It waits for our greeting, and we for its handshake.
		r.Cause, r.Detail = CausePlaintextOnTLSPort, "the client said nothing"
	case !h.talked && implicit && (errors.Is(err, io.EOF) || isReset(err)):
		stayed := time.Since(h.began)
		r.Cause, r.Detail = CausePlaintextOnTLSPort, fmt.Sprintf("the client said nothing, and left after %v", stayed.Round(time.Second))
		return r, stayed >= moment
	case !h.seen && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err)):
		r.Detail = "the client left before its handshake: " + text
	case strings.Contains(text, "unsupported application protocols") && strings.Contains(text, `"h`): // h2, http/1.1
		r.Cause, r.Detail = CauseHTTP, "the client wants HTTP within TLS"
	case errors.Is(err, io.EOF) || isReset(err):
		// It has seen our certificate, and some say nothing about it.
		r.Cause, r.Detail = CauseCertificateRefused, "probably: the client closed the connection in the handshake"
	case strings.HasPrefix(text, "remote error:"):
		r.Cause = remoteAlert(text)
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "SSLv2"):
		r.Cause, r.Detail = CauseTLSVersion, h.offered()
	case strings.Contains(text, "no cipher suite"), strings.Contains(text, "no ECDHE curve"), strings.Contains(text, "no mutually supported"), strings.Contains(text, "no key exchanges"),
		strings.Contains(text, "doesn't support any of the certificate's"), strings.Contains(text, "peer doesn't support"):
		r.Cause, r.Detail = CauseTLSCipher, h.offered()
	case strings.Contains(text, "bad record MAC"):
		// OpenSSL sends its alert in the clear where TLS 1.3 expects it
		// encrypted: this is how it looks from here.
		r.Cause, r.Detail = CauseCertificateRefused, "probably: "+text
	case strings.Contains(text, "certificate"):
		if strings.Contains(text, "client") || strings.Contains(text, "verify") {
			r.Cause = CauseClientCertificate
		}
	}
	return r, true
}

// isTLSHello reports whether what should be a line begins as a handshake does: a record
// (RFC 8446 section 5.1) or, as old devices begin it, a hello in the form of SSL 2.0
// (RFC 5246 appendix E.2). No text begins with either.
func isTLSHello(b []byte) bool {
	switch {
	case len(b) > 1 && b[0] == 22 && b[1] == 3:
		return true
	case len(b) > 4 && b[0]&0x80 != 0 && b[2] == 1:
		return b[3] == 3 || b[3] == 0 && b[4] == 2
	}
	return false
}

// explainRecord explains a first record that is none of TLS.
func explainRecord(err tls.RecordHeaderError, implicit bool) Refusal {
	head := err.RecordHeader
	switch {
	case strings.Contains(err.Msg, "SSLv2"), head[0]&0x80 != 0 && head[2] == 1:
		return Refusal{Cause: CauseTLSVersion, Detail: "offered SSLv2"}
	case bytes.HasPrefix(proxyLine, head[:]), bytes.Equal(head[:], proxySignature):
		return Refusal{Cause: CauseProxyHeader, Detail: "in the place of a TLS handshake"}
	case isHTTPMethod(head[:]):
		return Refusal{Cause: CauseHTTP, Detail: "HTTP in the place of a TLS handshake"}
	case implicit && head[0] >= 32 && head[0] < 127:
		return Refusal{Cause: CausePlaintextOnTLSPort, Detail: "the client said it in the clear"}
	case head[0] >= 32 && head[0] < 127:
		return Refusal{Cause: CauseTLSFailed, Detail: "the client went on in the clear behind STARTTLS"}
	}
	return Refusal{Cause: CauseTLSFailed, Detail: err.Error()}
}

// remoteAlert tells the client's alerts apart (RFC 8446 section 6.2).
func remoteAlert(text string) Cause {
	switch {
	case strings.Contains(text, "certificate"):
		return CauseCertificateRefused
	case strings.Contains(text, "protocol version"):
		return CauseTLSVersion
	case strings.Contains(text, "handshake failure"), strings.Contains(text, "insufficient security"):
		return CauseTLSCipher
	}
	return CauseTLSFailed
}
