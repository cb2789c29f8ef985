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

package smtpapp

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/smtpserver"
)

func TestMain(m *testing.M) {
	if os.Getenv(holdEnv) != "" {
		holdClients()
	}
	goleak.VerifyTestMain(m,
		// Caddy's own, for the life of the process.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).permit"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
	)
}

// testSource is an account source out of the test's hands.
type testSource struct{ index accounts.Index }

func (*testSource) Name() string                 { return "test" }
func (s *testSource) Index() *accounts.Index     { return &s.index }
func (*testSource) Start() error                 { return nil }
func (*testSource) Stop()                        {}
func (*testSource) Problems() []accounts.Problem { return nil }

const (
	testUser     = "alerts@example.com"
	testPassword = "made-up-password-1"
)

func testRecord(name string) accounts.Record {
	sum := sha256.Sum256([]byte(testPassword))
	return accounts.Record{Name: name, Upstream: "fake", PasswordHashes: []string{"sha256:" + hex.EncodeToString(sum[:])}}
}

func mustCompile(t testing.TB, r accounts.Record) *accounts.Account {
	t.Helper()
	a, err := accounts.Compile(r, "test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// testServer is a server on a loopback port, without Caddy around it.
type testServer struct {
	t      testing.TB
	up     *fakeUpstream
	source *testSource
	gen    *generation
	point  *point
	addr   string
	count  *countingListener
}

// testPolicy is the policy that the wire tests begin with.
func testPolicy() *policy {
	return &policy{
		Config: smtpserver.Config{
			BareNewline: smtpserver.BareReject, Strict: true,
			Hostname: "mail.test", MaxSize: 1 << 20, MaxRecipients: 100, MaxAuthTries: 3,
			CommandTimeout: time.Minute, BodyIdle: time.Minute, BodyTimeout: time.Minute,
		},
		maxConns: 1000, maxPerIP: 1000, guard: front.GuardPolicy{Max: 1 << 30, Window: time.Minute, Ban: time.Minute},
	}
}

func newTestGeneration(t testing.TB, up relay.Upstream, source *testSource, p *policy) *generation {
	p.Prepare()
	g := &generation{
		name: "test", policy: p, upstream: up, metrics: processMetrics,
		directory: accounts.NewDirectory([]accounts.Source{source}, nil),
		logger:    zap.NewNop(), access: zap.NewNop(), refusals: front.NewRefusals(), guard: front.NewGuard(),
	}
	g.single, _ = up.(relay.SingleFlight)
	g.warmer, _ = up.(relay.Warmer)
	return g
}

func startServer(t testing.TB, change func(*policy)) *testServer {
	t.Helper()
	return startServerWith(t, new(fakeUpstream), change)
}

func startServerWith(t testing.TB, up relay.Upstream, change func(*policy)) *testServer {
	t.Helper()
	p := testPolicy()
	if change != nil {
		change(p)
	}
	s := &testServer{t: t, source: new(testSource), point: newPoint()}
	switch u := up.(type) {
	case *fakeUpstream:
		s.up = u
	case singleUpstream:
		s.up = u.fakeUpstream
	default:
		s.up = new(fakeUpstream)
	}
	s.source.index.Set(mustCompile(t, testRecord(testUser)))
	s.gen = newTestGeneration(t, up, s.source, p)
	s.point.attach(s.gen)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.count = &countingListener{Listener: ln}
	accepting := s.point.acceptOn(s.count)
	s.addr = ln.Addr().String()
	t.Cleanup(func() {
		_ = ln.Close()
		<-accepting
		s.point.killAll()
		<-s.point.whenEmpty()
	})
	return s
}

// countingListener counts the writes of the connections it accepts.
type countingListener struct {
	net.Listener
	mu    sync.Mutex
	conns []*countingConn
}

func (l *countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &countingConn{Conn: nc}
	l.mu.Lock()
	l.conns = append(l.conns, c)
	l.mu.Unlock()
	return c, nil
}

func (l *countingListener) last() *countingConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns[len(l.conns)-1]
}

func (l *countingListener) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = nil
}

type countingConn struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// SyscallConn implements syscall.Conn, as the connections of Caddy's listeners do.
func (c *countingConn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

func (c *countingConn) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// client is the other end of the wire.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { _ = nc.Close() })
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatalf("sending %q: %v", s, err)
	}
}

func (c *client) line() (string, error) {
	s, err := c.r.ReadString('\n')
	if err == nil && !strings.HasSuffix(s, "\r\n") {
		return s, errors.New("reply line without CRLF")
	}
	return strings.TrimSuffix(s, "\r\n"), err
}

// expect reads a whole reply and checks how its last line begins.
func (c *client) expect(prefix string) string {
	c.t.Helper()
	for {
		s, err := c.line()
		if err != nil {
			c.t.Fatalf("want reply %q, got error: %v", prefix, err)
		}
		if len(s) > 3 && s[3] == '-' {
			continue
		}
		if !strings.HasPrefix(s, prefix) {
			c.t.Fatalf("want reply %q, got %q", prefix, s)
		}
		return s
	}
}

func (c *client) expectEOF() {
	c.t.Helper()
	if s, err := c.line(); err == nil {
		c.t.Fatalf("want the connection closed, got %q", s)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("want the connection closed, it is open")
	}
}

// login opens a session that may send.
func (c *client) login() {
	c.t.Helper()
	c.expect("220 ")
	c.send("EHLO client.test\r\n")
	c.expect("250 ")
	c.send("AUTH PLAIN " + plain(testUser, testPassword) + "\r\n")
	c.expect("235 ")
}

// play runs a script. `C: ` lines are sent, neighbours in one write; `S: `
// lines must come as they are, or begin like that if they end in `*`; `Q: `
// sends a quoted Go string as it is; `EOF` wants the connection closed;
// `TLS` does a handshake; `LOGIN` logs in.
func (c *client) play(script string) {
	c.t.Helper()
	var out bytes.Buffer
	flush := func() {
		if out.Len() > 0 {
			c.send(out.String())
			out.Reset()
		}
	}
	for i, line := range strings.Split(script, "\n") {
		line = strings.TrimLeft(line, "\t ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "C: "), line == "C:":
			out.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "C:"), " ") + "\r\n")
		case strings.HasPrefix(line, "Q: "):
			s, err := strconv.Unquote(line[3:])
			if err != nil {
				c.t.Fatalf("script line %d: %v", i+1, err)
			}
			out.WriteString(s)
		case strings.HasPrefix(line, "S: "):
			flush()
			want := line[3:]
			got, err := c.line()
			if err != nil {
				c.t.Fatalf("script line %d: want %q, got error: %v", i+1, want, err)
			}
			if p, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(got, p) {
				continue
			}
			if got != want {
				c.t.Fatalf("script line %d: want %q, got %q", i+1, want, got)
			}
		case strings.HasPrefix(line, "M: "): // a reply of any number of lines
			flush()
			c.expect(line[3:])
		case line == "EOF":
			flush()
			c.expectEOF()
		case line == "TLS":
			flush()
			c.startTLS()
		case line == "LOGIN":
			flush()
			c.login()
		default:
			c.t.Fatalf("script line %d: %q?", i+1, line)
		}
	}
	flush()
}

func (c *client) startTLS() {
	c.t.Helper()
	tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, ServerName: "mail.test"})
	if err := tc.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.nc, c.r = tc, bufio.NewReader(tc)
}

// asProvider makes a reply as a provider would word it.
func asProvider(code int, lines ...string) *relay.Reply {
	return &relay.Reply{Code: code, Lines: lines}
}

// cutReader returns at most cut octets at a time.
type cutReader struct {
	b   []byte
	cut int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.cut)], r.b)
	r.b = r.b[n:]
	return n, nil
}

// scriptConn is a connection that sends what it has been given and then ends.
type scriptConn struct {
	net.Conn
	in  cutReader
	out bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *scriptConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
}

// pipeClient connects to a point as if from an address.
func pipeClient(t testing.TB, p *point, g *generation, ip string) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := dial(t, ln.Addr().String())
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.admit(g, &addrConn{Conn: nc, remote: &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000}})
	t.Cleanup(func() {
		p.killAll()
		<-p.whenEmpty()
	})
	return c
}

// addrConn says that it comes from elsewhere.
type addrConn struct {
	net.Conn
	remote net.Addr
}

func (c *addrConn) RemoteAddr() net.Addr { return c.remote }

// What smtpserver keeps to.
const (
	maxErrors      = 20
	maxErrorsEarly = 10
	maxCommand     = 2 << 10
	maxBodyLine    = 1 << 20
)

func plain(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + password))
}
