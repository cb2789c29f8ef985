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
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/front"
	"github.com/caddymail/mailgateway/relay"
)

func TestConnectionLimits(t *testing.T) {
	s := startServer(t, func(p *policy) { p.maxConns = 3; p.maxPerIP = 2 })
	from := func(ip string) *client { return pipeClient(t, s.point, s.gen, ip) }
	a, b := from("192.0.2.1"), from("192.0.2.1")
	a.expect("220")
	b.expect("220")
	c := from("192.0.2.1")
	c.expect("421 4.3.2 Too many connections")
	c.expectEOF()
	d := from("192.0.2.2")
	d.expect("220")
	e := from("192.0.2.3")
	e.expect("421 4.3.2 Too many connections")
	e.expectEOF()
	a.send("QUIT\r\n")
	a.expect("221")
	a.expectEOF()
	b.send("QUIT\r\n")
	b.expect("221")
	b.expectEOF()
	s.awaitConns(1)
	f := from("192.0.2.1")
	f.expect("220")
}

// TestGuestsAreCrowdedOut has more clients without a login than may be: the
// oldest of them leaves, and nobody who has logged in, is about to or has begun a
// message.
func TestGuestsAreCrowdedOut(t *testing.T) {
	s, logs := observe(t, func(p *policy) {
		p.maxGuests = 2
		p.plaintextAuth = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		p.trust = []trustedNet{{prefix: netip.MustParsePrefix("192.0.2.9/32"), account: testUser}}
	})
	from := func(ip string) *client {
		c := pipeClient(t, s.point, s.gen, ip)
		c.expect("220")
		return c
	}
	known, trusted := from("192.0.2.1"), from("192.0.2.9")
	known.play("C: EHLO c\nM: 250\nC: AUTH PLAIN " + plain(testUser, testPassword) + "\nM: 235")
	trusted.play("C: EHLO c\nM: 250\nC: MAIL FROM:<" + testUser + ">\nM: 250")
	guessing := from("192.0.2.2")
	guessing.play("C: EHLO c\nM: 250\nC: AUTH LOGIN\nM: 334")
	half := from("192.0.2.3")
	half.send("NOO")
	// The one who guesses wrongly is the younger one afterwards.
	guessing.play("C: " + base64.StdEncoding.EncodeToString([]byte(testUser)) + "\nM: 334\nC: AAAA\nM: 535")
	young := from("192.0.2.4")
	half.expect("421 4.3.2 Too many connections")
	half.expectEOF()
	if n := s.gen.front.Load().Guests; n != 2 {
		t.Errorf("%d without a login, want 2", n)
	}
	young.play("C: EHLO c\nM: 250\nC: AUTH PLAIN " + plain(testUser, testPassword) + "\nM: 235")
	last := from("192.0.2.5")
	for _, c := range []*client{known, trusted, guessing, young, last} {
		c.play("C: NOOP\nM: 250")
	}
	from("192.0.2.6")
	guessing.expect("421 4.3.2 Too many connections")
	lines := logs.FilterField(zap.String("cause", "too_many_before_login")).All()
	if len(lines) != 2 || lines[0].Level != zapcore.WarnLevel || lines[0].ContextMap()["client_ip"] != "192.0.2.3" {
		t.Errorf("the log has %v", lines)
	}
	if got := s.gen.refusals.List(); !slices.ContainsFunc(got, func(r Refusal) bool {
		return r.Cause == "too_many_before_login" && r.ClientIP == "192.0.2.2" && r.Reply == relay.ReplyTooManyConns.Error()
	}) {
		t.Errorf("refused were %+v", got)
	}
}

// TestGuestsInHandshake crowds a client out that does not get on with TLS.
func TestGuestsInHandshake(t *testing.T) {
	s, logs := observe(t, func(p *policy) { p.maxGuests, p.ImplicitTLS = 1, new(tls.Config) })
	c := dial(t, s.addr)
	c.send("\x16\x03\x01")
	for s.gen.front.Load().Guests == 0 {
		time.Sleep(time.Millisecond)
	}
	d := dial(t, s.addr)
	d.send("\x16\x03\x01")
	for {
		if _, err := c.nc.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is open")
		} else if err != nil {
			break
		}
	}
	for _, l := range logs.FilterMessage(messageRefused).All() {
		if l.ContextMap()["cause"] != "too_many_before_login" {
			t.Errorf("the log has %v", l.ContextMap())
		}
	}
}

// awaitConns waits until the server counts so many connections.
func (s *testServer) awaitConns(n int) {
	for {
		if s.gen.front.Load().Conns <= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTimeouts(t *testing.T) {
	const short = 150 * time.Millisecond
	for name, tc := range map[string]struct {
		change  func(*policy)
		script  string
		end     string // what comes before the connection closes
		trickle bool
	}{
		"greeting":             {func(p *policy) { p.CommandTimeout = short }, `M: 220`, "421 4.4.2", false},
		"command":              {func(p *policy) { p.CommandTimeout = short }, states["hello"], "421 4.4.2", false},
		"half a command":       {func(p *policy) { p.CommandTimeout = short }, states["hello"] + "\nQ: \"NOO\"", "421 4.4.2", false},
		"trickled command":     {func(p *policy) { p.CommandTimeout = short }, states["hello"], "421 4.4.2", true},
		"within a transaction": {func(p *policy) { p.CommandTimeout = short }, states["rcpt"], "421 4.4.2", false},
		"within AUTH":          {func(p *policy) { p.CommandTimeout = short }, states["hello"] + "\nC: AUTH LOGIN\nM: 334", "421 4.4.2", false},
		"body":                 {func(p *policy) { p.BodyIdle = short }, states["rcpt"] + "\nC: DATA\nM: 354\nC: half", "421 4.4.2", false},
		"chunk":                {func(p *policy) { p.BodyIdle = short }, states["rcpt"] + "\nC: BDAT 100\nC: half", "421 4.4.2", false},
		"between chunks":       {func(p *policy) { p.BodyIdle = short }, states["chunk"], "421 4.4.2", false},
		"trickled body":        {func(p *policy) { p.BodyTimeout = short }, states["rcpt"] + "\nC: DATA\nM: 354", "421 4.4.2", true},
		"trickled chunk":       {func(p *policy) { p.BodyTimeout = short }, states["rcpt"] + "\nC: BDAT 100000 LAST", "421 4.4.2", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, tc.change)
			c := dial(t, s.addr)
			c.play(tc.script)
			if tc.trickle {
				stop := make(chan struct{})
				done := make(chan struct{})
				go func() {
					defer close(done)
					tick := time.NewTicker(10 * time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-tick.C:
							if _, err := io.WriteString(c.nc, "x"); err != nil {
								return
							}
						case <-stop:
							return
						}
					}
				}()
				defer func() { close(stop); <-done }()
			}
			c.expect(tc.end)
			if !tc.trickle {
				c.expectEOF()
			}
			<-s.point.whenEmpty()
			if n := len(s.up.taken()); n != 0 && !strings.Contains(tc.script, "LAST") {
				t.Errorf("%d messages delivered", n)
			}
		})
	}
}

// TestDrain takes a server away while its sessions are at different things.
func TestDrain(t *testing.T) {
	s := startServer(t, nil)
	s.up.hold, s.up.inData = make(chan struct{}), make(chan struct{}, 1)
	idle, mail, data := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	half := dial(t, s.addr)
	idle.play(states["authenticated"])
	mail.play(states["rcpt"])
	data.play(states["rcpt"])
	half.play(states["hello"])
	half.send("NOO")
	data.send("DATA\r\n")
	data.expect("354")
	data.send("x\r\n.\r\n")
	<-s.up.inData
	s.point.detach(s.gen)
	s.point.drain(time.Minute)
	idle.expect("421 4.3.2")
	idle.expectEOF()
	half.expect("421 4.3.2")
	half.expectEOF()
	// What is on its way goes on, and no further.
	close(s.up.hold)
	data.expect("250 2.0.0 OK 12345 provider")
	data.expect("421 4.3.2")
	data.expectEOF()
	s.up.mu.Lock()
	s.up.inData = nil
	s.up.mu.Unlock()
	mail.send("DATA\r\n")
	mail.expect("354")
	mail.send("y\r\n.\r\nMAIL FROM:<a@example.com>\r\n")
	mail.expect("250 2.0.0")
	mail.expect("421 4.3.2")
	mail.expectEOF()
	front.AwaitDrains()
	if n := len(s.up.taken()); n != 2 {
		t.Errorf("%d messages delivered, want 2", n)
	}
}

// TestDrainHandshake takes a server away amid handshakes that do not get on.
func TestDrainHandshake(t *testing.T) {
	for name, change := range map[string]func(*policy){
		"implicit": func(p *policy) { p.ImplicitTLS = new(tls.Config) },
		"starttls": func(p *policy) { p.StartTLS = new(tls.Config) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, change)
			c := dial(t, s.addr)
			if name == "starttls" {
				c.play("M: 220\nC: EHLO c\nM: 250\nC: STARTTLS\nM: 220")
			}
			c.send("\x16\x03\x01") // the beginning of a record
			for len(s.point.Sessions()) == 0 {
				time.Sleep(time.Millisecond)
			}
			s.point.detach(s.gen)
			s.point.drain(time.Minute)
			<-s.point.whenEmpty()
			front.AwaitDrains()
			for {
				if _, err := c.nc.Read(make([]byte, 1)); err != nil {
					break
				}
			}
		})
	}
}

// TestDrainTimeout ends what does not end.
func TestDrainTimeout(t *testing.T) {
	s := startServer(t, nil)
	s.up.hold, s.up.inData = make(chan struct{}), make(chan struct{}, 1)
	mail, data := dial(t, s.addr), dial(t, s.addr)
	mail.play(states["rcpt"])
	data.play(states["rcpt"])
	data.send("DATA\r\n")
	data.expect("354")
	data.send("x\r\n.\r\n")
	<-s.up.inData
	s.point.detach(s.gen)
	s.point.drain(50 * time.Millisecond)
	mail.expectEOF()
	// The end of the connection ends the delivery too, whose outcome may be told
	// before the socket is closed, and the server's goodbye: it is never a good one.
	for _, word := range []string{"451 4.4", "421 4.3.2"} {
		reply, err := data.line()
		if err != nil {
			break
		}
		if !strings.HasPrefix(reply, word) {
			t.Errorf("%q behind the drain's end", reply)
		}
	}
	data.expectEOF()
	front.AwaitDrains()
	if n := len(s.up.taken()); n != 0 {
		t.Errorf("%d messages delivered", n)
	}
}

// TestGenerations swaps policies under a session.
func TestGenerations(t *testing.T) {
	s := startServer(t, nil)
	c := dial(t, s.addr)
	c.login()
	p := testPolicy()
	p.MaxSize = 10
	next := newTestGeneration(t, s.up, s.source, p)
	s.point.attach(next)
	c.send("MAIL FROM:<a@example.com> SIZE=11\r\n")
	c.expect("552")
	// The new configuration fails to start after all.
	s.point.detach(next)
	c.send("MAIL FROM:<a@example.com> SIZE=11\r\n")
	c.expect("250")
	// Within a transaction the policy stays.
	s.point.attach(next)
	c.play(`
		C: RCPT TO:<b@example.org>
		M: 250
		C: DATA
		M: 354
		C: more than ten octets
		C: .
		M: 250
		C: MAIL FROM:<a@example.com> SIZE=11
		M: 552`)
	s.point.detach(s.gen)
	c.send("MAIL FROM:<a@example.com>\r\nRSET\r\n")
	c.expect("250")
	c.expect("250")
	s.point.detach(next)
	c.send("MAIL FROM:<a@example.com>\r\n")
	c.expect("421 4.3.2")
	c.expectEOF()
}

// TestManyLargeBodies sends many large messages at once: what the server holds
// of them does not grow with their size.
func TestManyLargeBodies(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("figures of a normal build only")
	}
	clients, size := 100, 25<<20
	if os.Getenv("SMTPAPP_TEST_LARGE") == "" {
		size = 2 << 20
	}
	s := startServerWith(t, discardUpstream{}, func(p *policy) { p.MaxSize = 64 << 20 })
	block := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 420))
	before := memory()
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range clients {
		c := dial(t, s.addr)
		c.play(states["rcpt"])
		c.send("DATA\r\n")
		c.expect("354")
		_ = c.nc.SetDeadline(time.Now().Add(5 * time.Minute))
		wg.Go(func() {
			<-begin
			for sent := 0; sent < size; sent += len(block) {
				if _, err := c.nc.Write(block); err != nil {
					t.Error(err)
					return
				}
			}
			if _, err := io.WriteString(c.nc, ".\r\n"); err != nil {
				t.Error(err)
			}
			if line, err := c.line(); err != nil || line[:3] != "250" {
				t.Errorf("got %q, %v", line, err)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	close(begin)
	var peak int64
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(5 * time.Millisecond):
			peak = max(peak, memory()-before)
		}
	}
	t.Logf("%d clients, %d MiB each: %d KiB at the peak", clients, size>>20, peak>>10)
	if peak > 32<<20 {
		t.Errorf("%d KiB at the peak", peak>>10)
	}
}

// discardUpstream forgets what it reads.
type discardUpstream struct{}

func (discardUpstream) Begin(context.Context, *accounts.Account, string, *smtp.MailOptions) (relay.Transaction, error) {
	return discardTx{}, nil
}

type discardTx struct{ nullTx }

func (discardTx) Data(_ context.Context, body io.Reader) (relay.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	return relay.Reply{Code: 250, Lines: nullReply}, err
}
