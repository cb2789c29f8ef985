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

package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/caddymail/mailgateway/internal/exhausted"
	"github.com/caddymail/mailgateway/internal/outproxy"
	"github.com/caddymail/mailgateway/internal/stack"
	"github.com/caddymail/mailgateway/relay"
)

// Trace hears of each step when it is over, with what the provider said.
type Trace func(step, said string, err error)

func (t Trace) done(step, said string, err error) {
	if t != nil {
		t(step, said, err)
	}
}

// Resolve looks the provider's name up, so that a trace tells it from the connection.
// Behind a proxy that is the proxy's affair.
func Resolve(ctx context.Context, cfg *Config, trace Trace) error {
	if _, err := netip.ParseAddr(cfg.Host); err == nil || cfg.Proxy != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", cfg.Host)
	var list []string
	for _, a := range addrs {
		list = append(list, a.Unmap().String())
	}
	trace.done("dns", strings.Join(list, ", "), err)
	return err
}

// Dial opens a connection up to the reply to EHLO, encrypted as configured.
// sourceIP is the local address if it is not empty.
func Dial(ctx context.Context, cfg *Config, sourceIP string, trace Trace) (*Conn, *Error) {
	stack.RoomForTLS()
	dialing, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	tcp, derr := dialTCP(dialing, cfg, sourceIP)
	cancel()
	if derr != nil {
		trace.done("tcp", "", derr.Err)
		return nil, derr
	}
	trace.done("tcp", "connected to "+tcp.RemoteAddr().String(), nil)
	c := New(tcp, cfg)
	if stage, err := c.greet(ctx, trace); err != nil {
		c.Abandon()
		trace.done(stage, "", err)
		return nil, unwelcome(stage, err)
	}
	return c, nil
}

// unwelcome is what became of a connection that did not get to its login. Where the
// provider has said why, its words are the answer: unreachable it is not.
func unwelcome(stage string, err error) *Error {
	e := &Error{Class: FailConnect, Stage: stage, Reply: relay.ReplyUpstreamDown, Err: err}
	r, spoke := errors.AsType[*relay.Reply](err)
	switch {
	case errors.Is(err, relay.ErrReply):
		e.Reply = relay.ReplyUpstreamProtocol
	case !spoke:
	case r.Code == 432:
		e.Class, e.Reply = FailBusy, relay.ReplyUpstreamBusy(r)
	case r.Code >= 400:
		e.Reply, e.Err = relay.ReplyUpstreamRefused(r), &refusedError{r}
	default:
		e.Reply = relay.ReplyUpstreamProtocol
	}
	return e
}

// refusedError is a connection that the provider does not take, in its words.
type refusedError struct{ said *relay.Reply }

// Error implements error.
func (e *refusedError) Error() string {
	return "the provider refuses the gateway's connection: " + e.said.Error()
}

// Unwrap returns what the provider said.
func (e *refusedError) Unwrap() error { return e.said }

// Words is what the provider said where it refused the connection, or nil.
func (e *Error) Words() *relay.Reply {
	if r, ok := errors.AsType[*refusedError](e.Err); ok {
		return r.said
	}
	return nil
}

// greet takes the connection from its first byte to the reply to EHLO. An error
// is the connection's or the provider's reply; stage says where it came up.
func (c *Conn) greet(ctx context.Context, trace Trace) (stage string, err error) {
	if err := c.arm(c.cfg.DialTimeout); err != nil {
		return "tcp", err
	}
	if c.cfg.TLSMode == ImplicitTLS {
		if err := c.handshake(ctx, trace); err != nil {
			return "tls", err
		}
	}
	if err := c.arm(c.cfg.GreetingTimeout); err != nil {
		return "greeting", err
	}
	if code, err := c.replies.Read(); timedOut(err) {
		return "greeting", fmt.Errorf("no greeting within %v (the longer of dial_timeout and a minute): %w", c.cfg.GreetingTimeout, err)
	} else if err != nil {
		return "greeting", err
	} else if code != 220 {
		return "greeting", c.Said()
	}
	c.tell(trace, "greeting")
	if err := c.arm(c.cfg.DialTimeout); err != nil {
		return "ehlo", err
	}
	if err := c.ehlo(); err != nil {
		return "ehlo", err
	}
	c.tell(trace, "ehlo")
	if c.cfg.TLSMode != StartTLS {
		return "", nil
	}
	if !c.caps.StartTLS {
		// Going on in the clear would be what an attacker in the middle wants.
		return "starttls", errors.New("the provider does not offer STARTTLS")
	}
	if code, err := c.command([]byte("STARTTLS\r\n")); err != nil {
		return "starttls", err
	} else if code != 220 {
		return "starttls", c.Said()
	}
	// RFC 3207 section 6: what came in the clear after the 220 is nobody's.
	if c.br.Buffered() > 0 {
		return "starttls", errors.New("plaintext injected before TLS")
	}
	c.tell(trace, "starttls")
	if err := c.handshake(ctx, trace); err != nil {
		return "tls", err
	}
	if err := c.ehlo(); err != nil { // RFC 3207 section 4.2: begin again
		return "ehlo", err
	}
	c.tell(trace, "ehlo")
	return "", nil
}

// tell reports a step with the reply that ended it.
func (c *Conn) tell(trace Trace, name string) {
	if trace != nil {
		trace.done(name, strings.Join(c.Said().Lines, "\n"), nil)
	}
}

func (c *Conn) handshake(ctx context.Context, trace Trace) error {
	c.deaf = &deafConn{Conn: c.tcp, early: &c.early}
	tc := tls.Client(c.deaf, c.cfg.TLS)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.nc = tc
	c.br.Reset((*patient)(c))
	c.replies.Reset(c.br)
	if trace != nil {
		trace.done("tls", c.describeTLS(), nil)
	}
	return c.arm(c.cfg.DialTimeout)
}

// dialTCP connects from its own local address if that is not empty, else from
// the configured one. An address that can't be bound fails: mail must not leave
// from another one.
func dialTCP(ctx context.Context, cfg *Config, own string) (net.Conn, *Error) {
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4}}
	network, source := "tcp", cfg.SourceIP
	if own != "" {
		var err error
		if source, err = netip.ParseAddr(own); err != nil {
			return nil, &Error{Class: FailLocal, Stage: "source_ip", Reply: relay.ReplyUpstreamDown, Err: fmt.Errorf("malformed address '%s'", own)}
		}
	}
	if source.IsValid() {
		source = source.Unmap()
		if network = "tcp6"; source.Is4() {
			network = "tcp4"
		}
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	var nc net.Conn
	var err error
	if cfg.Proxy != nil {
		nc, err = outproxy.Dial(ctx, d, network, cfg.Address(), cfg.Proxy)
	} else {
		nc, err = d.DialContext(ctx, network, cfg.Address())
	}
	if err == nil {
		return nc, nil
	}
	e := &Error{Class: FailConnect, Stage: "connect", Reply: relay.ReplyUpstreamDown, Err: err}
	switch {
	case source.IsValid() && bindFailed(err):
		e.Class = FailLocal
	case exhausted.Is(err):
		e.Class, e.Reply = FailLocal, relay.ReplyNoConnection
	}
	return nil, e
}

// TLS returns what was agreed on, and whether the connection is encrypted.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return tc.ConnectionState(), true
}

// describeTLS says what was agreed on.
func (c *Conn) describeTLS() string {
	st, ok := c.TLS()
	if !ok {
		return ""
	}
	said := tls.VersionName(st.Version) + ", " + tls.CipherSuiteName(st.CipherSuite)
	if len(st.PeerCertificates) > 0 {
		cert := st.PeerCertificates[0]
		said += ", certificate of " + cert.Subject.CommonName + " until " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	return said
}

// bindFailed reports whether the local address was the trouble.
func bindFailed(err error) bool {
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
		return true
	}
	se, ok := errors.AsType[*os.SyscallError](err)
	return ok && se.Syscall == "bind"
}
