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

package upstreampool

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// lineFault is a way in which the line to a provider fails, or seems to.
type lineFault struct {
	name string
	do   func(s *serverConn)
	// harmless is what TLS says for itself: the session goes on.
	harmless bool
	// sealed takes TLS 1.3.
	sealed bool
	// doubtful may be the beginning of a reply.
	doubtful bool
	// silent shows by nothing but time.
	silent bool
}

func (s *serverConn) tcp() *net.TCPConn {
	if tc, ok := s.nc.(*tls.Conn); ok {
		return tc.NetConn().(*net.TCPConn)
	}
	return s.nc.(*net.TCPConn)
}

func (s *serverConn) raw(b ...byte) { _, _ = s.tcp().Write(b) }

// record sends a record of TLS, sealed if there is TLS.
func (s *serverConn) record(kind byte, content ...byte) {
	if tc, ok := s.nc.(*tls.Conn); ok {
		s.raw(testpki.Record(tc, kind, content)...)
		return
	}
	s.raw(append([]byte{kind, 3, 3, 0, byte(len(content))}, content...)...) //nolint:gosec // small
}

func (s *serverConn) fin() { _ = s.tcp().CloseWrite() }

// A peer of which nothing is heard any more, without a FIN, is silence;
// TestPeerIsGone has one that takes nothing either.
var lineFaults = func() []lineFault {
	alert := func(level, what byte) func(*serverConn) {
		return func(s *serverConn) { s.record(testpki.Alert, level, what) }
	}
	update := func(asks bool) func(*serverConn) {
		return func(s *serverConn) { s.raw(testpki.KeyUpdate(s.nc.(*tls.Conn), asks)...) }
	}
	reply := []byte("250 2.0.0 ok\r\n")
	sealed := func(s *serverConn) []byte {
		return testpki.Record(s.nc.(*tls.Conn), testpki.Application, reply)
	}
	return []lineFault{
		{name: "fin", do: (*serverConn).fin},
		{name: "reset", do: func(s *serverConn) { _ = s.tcp().SetLinger(0); _ = s.tcp().Close() }},
		{name: "silence", do: func(*serverConn) {}, silent: true},
		{name: "close_notify", do: alert(1, 0)},
		{name: "close_notify, fin", do: func(s *serverConn) { s.record(testpki.Alert, 1, 0); s.fin() }},
		{name: "bad_record_mac", do: alert(2, 20)},
		{name: "internal_error, fin", do: func(s *serverConn) { s.record(testpki.Alert, 2, 80); s.fin() }},
		{name: "alert in the clear", do: func(s *serverConn) { s.raw(testpki.Alert, 3, 3, 0, 2, 2, 40) }},
		{name: "reply in the clear", do: func(s *serverConn) { s.raw(reply...) }, sealed: true, doubtful: true},
		{name: "half a record", do: func(s *serverConn) { r := sealed(s); s.raw(r[:len(r)/2]...); s.fin() }, sealed: true, doubtful: true},
		{name: "altered", do: func(s *serverConn) { r := sealed(s); r[len(r)-1] ^= 1; s.raw(r...) }, sealed: true},
		{name: "too large a record", do: func(s *serverConn) { s.raw(testpki.Application, 3, 3, 0xff, 0xff) }, sealed: true, doubtful: true},
		{name: "ticket", do: func(s *serverConn) { s.raw(testpki.Ticket(s.nc.(*tls.Conn))...) }, sealed: true, harmless: true},
		{name: "key", do: update(false), sealed: true, harmless: true},
		{name: "key, asked for", do: update(true), sealed: true, harmless: true},
		{name: "user_canceled", do: alert(1, 90), sealed: true, harmless: true},
		{name: "empty record", do: func(s *serverConn) { s.record(testpki.Application) }, sealed: true, harmless: true},
		{name: "all of TLS", do: func(s *serverConn) {
			update(true)(s)
			s.raw(testpki.Ticket(s.nc.(*tls.Conn))...)
			update(false)(s)
			s.record(testpki.Application)
		}, sealed: true, harmless: true},
	}
}()

// lineCase is one of them in one state of a session.
type lineCase struct {
	state string
	fault lineFault
	// where in the provider's reply: before (or instead), within, behind
	where string
	mode  string // of TLS
	lacks string
	one   bool // in one flight
}

func (c *lineCase) String() string {
	return fmt.Sprintf("%s, %s %s (%s, lacks=%s, one=%v)", c.fault.name, c.where, c.state, c.mode, c.lacks, c.one)
}

// states of a session, by the line that the provider answers. Before TLS some of the
// faults can't be.
var (
	statesBefore = []string{"<connect>", "EHLO", "STARTTLS", "<handshake>"}
	statesLogin  = []string{"<connect>", "EHLO", "EHLO again", "AUTH", "user", "password"}
	statesPooled = []string{"idle", "MAIL", "RCPT", "DATA", "<body>", "<end>", "RSET", "QUIT"}
)

// TestLineFails has the line fail in each way and each state of a session: nothing is
// confirmed but by the provider's word for the message, nothing is sent twice by the
// gateway, a message of which nothing was committed goes out on another connection,
// and nobody waits for what can be seen. What TLS has to say for itself changes
// nothing. TestFaults and TestReplies have what a provider says in the clear.
func TestLineFails(t *testing.T) {
	conf, pool := testTLS(t)
	var all []*lineCase
	for _, f := range lineFaults {
		for _, where := range []string{"before", "within", "behind"} {
			if f.silent && where != "before" {
				continue
			}
			if !f.sealed {
				for _, state := range statesBefore {
					f := f // a reply that has no end is a wait
					f.silent = f.silent || state != "<handshake>" && (state != "STARTTLS" || where != "behind") && f.name != "reset" && !strings.HasSuffix(f.name, "fin")
					if state != "<handshake>" || where == "before" {
						all = append(all, &lineCase{state, f, where, smtpclient.StartTLS, "", false})
					}
				}
			}
			for _, state := range statesLogin {
				mode := smtpclient.ImplicitTLS
				if state == "EHLO again" {
					mode = smtpclient.StartTLS
				}
				all = append(all, &lineCase{state, f, where, mode, "", false})
			}
			for _, state := range statesPooled {
				for _, lacks := range []string{"", "PIPELINING", "CHUNKING"} {
					if state == "DATA" && lacks != "CHUNKING" || (state == "idle" || state == "<body>") && where != "before" || (state == "QUIT" || state == "idle") && f.silent {
						continue
					}
					// What stands behind replies is TestRecordsBehindReplies' too.
					if lacks == "PIPELINING" && where != "before" || lacks != "" && f.harmless && where == "behind" {
						continue
					}
					for _, one := range []bool{false, true} {
						if one && (lacks != "" || state == "<body>") {
							continue
						}
						all = append(all, &lineCase{state, f, where, smtpclient.ImplicitTLS, lacks, one})
					}
				}
			}
		}
	}
	t.Log(len(all), "cases")
	turns := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for _, c := range all {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			c.test(t, conf, pool)
		})
	}
	wg.Wait()
}

// stateOf is the state in which the provider gives the reply.
func (c *lineCase) stateOf(s *serverConn, reply string) string {
	_, encrypted := s.nc.(*tls.Conn)
	verb, _, _ := strings.Cut(s.line, " ")
	switch {
	case verb == "EHLO" && encrypted && c.mode == smtpclient.StartTLS:
		return "EHLO again"
	case strings.HasPrefix(reply, "334 UGF"):
		return "user"
	case strings.HasPrefix(reply, "235"):
		return "password"
	}
	return verb
}

var errLine = errors.New("the line has failed")

// strike has the fault happen. Nothing more is said on a line that has failed, until
// the gateway has closed it.
func (c *lineCase) strike(s *serverConn) error {
	c.fault.do(s)
	if c.fault.harmless {
		return nil
	}
	_, _ = io.Copy(io.Discard, s.tcp())
	return errLine
}

func (c *lineCase) test(t *testing.T, conf *tls.Config, pool *x509.CertPool) {
	body := "Subject: x\r\n\r\n.hello\r\n"
	if c.state == "<body>" {
		body += strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 400)
	}
	var armed, waited atomic.Bool
	idle, struck := make(chan struct{}), make(chan struct{})
	p := newProvider(t, func(p *provider) {
		p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(word string) bool { return word == c.lacks })
		p.tls, p.implicit = conf, c.mode == smtpclient.ImplicitTLS
		p.hook = func(s *serverConn, line string) string {
			switch {
			case strings.HasPrefix(line, "AUTH"):
				return "334 VXNlcm5hbWU6"
			case line == base64.StdEncoding.EncodeToString([]byte("a@a.test")):
				return "334 UGFzc3dvcmQ6"
			case line == base64.StdEncoding.EncodeToString([]byte("made-up")):
				return "235 2.7.0 ok"
			case line == "<body>" && c.state == line && armed.CompareAndSwap(true, false) && c.strike(s) != nil:
				return "<close>"
			}
			return ""
		}
		p.handshake = func(s *serverConn) bool {
			return c.state == "<handshake>" && armed.CompareAndSwap(true, false) && c.strike(s) != nil
		}
		p.write = func(s *serverConn, reply string) error {
			n := 0
			if c.stateOf(s, reply) == c.state && armed.CompareAndSwap(true, false) {
				switch c.where {
				case "within":
					n = len(reply) / 2
				case "behind":
					n = len(reply)
				}
				if _, err := io.WriteString(s.nc, reply[:n]); err != nil {
					return err
				}
				if err := c.strike(s); err != nil {
					return err
				}
			}
			_, err := io.WriteString(s.nc, reply[n:])
			if c.state == "idle" && s.line == "RSET" && waited.CompareAndSwap(false, true) {
				<-idle
				c.fault.do(s)
				if close(struck); !c.fault.harmless {
					_, _ = io.Copy(io.Discard, s.tcp())
					return errLine
				}
			}
			return err
		}
	})
	patient := testSettings(t, p, func(tr *SMTPTransport) {
		tr.TLS, tr.Auth.Mechanism = &UpstreamTLS{Mode: c.mode}, smtpclient.AuthLogin
		if c.state == "QUIT" {
			tr.MaxMessagesPerConn = 1
		}
	})
	patient.TLS.RootCAs = pool
	patient.name += fmt.Sprintf("-%p", p)
	patient.DialTimeout, patient.GreetingTimeout, patient.CommandTimeout, patient.DataTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	s := *patient
	if c.fault.silent {
		s.DialTimeout, s.GreetingTimeout, s.CommandTimeout, s.DataTimeout = 150*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond
	}
	u := attach(patient)
	a := testAccount("a@a.test")
	send := func(tag string) error {
		if c.one {
			return single(u, a, tag+body)
		}
		return deliverBetween(u, tag+body, 2, func() {})
	}
	pooled := slices.Contains(statesPooled, c.state)
	if pooled {
		if err := send("before"); err != nil {
			t.Errorf("%v: the message before: %v", c, err)
		}
	}
	u.attach(&s)
	u.detach(patient)
	if armed.Store(true); c.state == "idle" {
		armed.Store(false)
		close(idle)
		<-struck
	}
	done := make(chan error, 1)
	go func() { done <- send("this") }()
	var err error
	select {
	case err = <-done:
	case <-time.After(30 * time.Second): // less than any timeout there is
		t.Errorf("%v: the client waits", c)
		p.stop()
		err = <-done
	}
	u.attach(patient)
	u.detach(&s)
	settled(t, u, a.Name)
	if armed.Swap(false) && !c.fault.silent { // on a busy machine the wait may be over before
		t.Errorf("%v: never happened", c)
	}
	if ac := u.peek(a.Name); ac != nil {
		ac.mu.Lock()
		ac.adapt.Forgive() // the pause after a refused login is another test's
		ac.mu.Unlock()
	}
	dialed := p.dialed()
	if err := send("after"); err != nil {
		t.Errorf("%v: %v, and the message after: %v", c, err, err)
	}
	u.detach(patient)
	u.closing.Wait()
	u.limits.Wait()
	p.stop()

	held := p.holds("this" + body)
	if p.holds("after"+body) != 1 || len(p.got()) != held+1+p.holds("before"+body) {
		t.Errorf("%v: the messages are not those that were sent", c)
	}
	reply, _ := errors.AsType[*relay.Reply](err)
	switch {
	case err == nil && held != 1, held > 1:
		t.Errorf("%v: %v, and held %d times", c, err, held)
	case err != nil && c.delivers():
		t.Errorf("%v: %v, want it delivered", c, err)
	case err != nil && (reply == nil || reply.Code/100 != 4):
		t.Errorf("%v: %v, want a passing failure", c, err)
	case err != nil && held == 1 && !errors.Is(err, relay.ReplyDeliveryUnknown):
		t.Errorf("%v: %v, and it is held", c, err)
	}
	// One that has something to say while it is idle is not asked what.
	if c.fault.harmless && (c.state != "QUIT" && c.state != "idle" && dialed != 1 || s.Learned.Stutters.Load() || s.Learned.NoTail.Load() || s.Learned.NoPipelining.Load()) {
		t.Errorf("%v: %d connections, learned %v", c, dialed, s.Learned)
	}
	if n := p.count("AUTH"); n > 4 {
		t.Errorf("%v: %d logins", c, n)
	}
}

// delivers reports whether the message arrives, whatever becomes of the connection:
// where nothing was committed on it, and where the provider's word has come.
func (c *lineCase) delivers() bool {
	switch {
	case c.fault.harmless, c.state == "QUIT", c.state == "idle":
		return true
	case c.fault.silent:
		return false
	case (c.state == "<end>" || c.state == "RSET") && c.where == "behind" && c.fault.doubtful:
		return false // it may have been a reply too many
	case c.state == "<end>":
		return c.where == "behind" && c.fault.name != "reset"
	case c.state == "RSET":
		return true
	case c.state == "DATA" && c.where == "behind":
		return false // the message may have left
	case c.state == "MAIL", c.state == "RCPT", c.state == "DATA":
		return !c.one
	}
	return false
}

// TestPeerIsGone has a provider vanish amid a body, without a FIN: it takes nothing
// more, until the socket is full, and says nothing. The client's wait has an end, and
// the next message goes.
func TestPeerIsGone(t *testing.T) {
	for _, framing := range []string{framingAuto, framingData} {
		for _, encrypted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", framing, encrypted), func(t *testing.T) {
				t.Parallel()
				gone := make(chan struct{})
				p, patient := newTLSProvider(t, encrypted, func(p *provider) {
					p.hook = func(s *serverConn, line string) string {
						if line == "<body>" && s.n == 1 {
							<-gone
							return "<close>"
						}
						return ""
					}
				})
				patient.BDAT = framing == framingAuto
				s := *patient
				s.DataTimeout = 300 * time.Millisecond
				u := attach(&s)
				tx, err := u.begin(t.Context(), testAccount("a@a.test"), "from@a.test", nil)
				if err == nil {
					err = tx.Rcpt(t.Context(), "to@b.test", nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				line := strings.Repeat("0123456789abcdef", 50) + "\r\n"
				_, err = tx.Data(t.Context(), strings.NewReader(strings.Repeat(line, 40_000))) // more than sockets hold
				close(gone)
				if r, ok := errors.AsType[*relay.Reply](err); !ok || r.Code/100 != 4 {
					t.Errorf("%v: want a passing failure", err)
				}
				u.attach(patient)
				u.detach(&s)
				if err := deliver(u, testAccount("a@a.test"), "after\r\n"); err != nil || p.holds("after\r\n") != 1 || len(p.got()) != 1 {
					t.Errorf("the message after: %v, %d at the provider", err, len(p.got()))
				}
				u.detach(patient)
				settled(t, u, "a@a.test")
				u.limits.Wait()
			})
		}
	}
}

// TestRecipientsAnew has the line fail amid recipients that follow others: all of them
// are said on another connection, and the message is theirs, once.
func TestRecipientsAnew(t *testing.T) {
	for _, lacks := range []string{"", "PIPELINING"} {
		for _, at := range []string{"two", "three", "four"} {
			t.Run(lacks+"/"+at, func(t *testing.T) {
				t.Parallel()
				p := newProvider(t, func(p *provider) {
					p.caps = slices.DeleteFunc(slices.Clone(allCaps), func(word string) bool { return word == lacks })
					p.hook = func(s *serverConn, line string) string {
						switch {
						case s.n == 1 && strings.HasPrefix(line, "RCPT TO:<"+at):
							return "<close>"
						case strings.HasPrefix(line, "RCPT TO:<three"):
							return "550 5.1.1 no such user"
						}
						return ""
					}
				})
				u := start(t, testSettings(t, p))
				tx, err := u.begin(t.Context(), testAccount("a@a.test"), "from@a.test", nil)
				if err == nil {
					err = tx.Rcpt(t.Context(), "one@b.test", nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				errs := tx.RcptBatch(t.Context(), []relay.Recipient{{To: "two@b.test"}, {To: "three@b.test"}, {To: "four@b.test"}})
				if r, ok := errors.AsType[*relay.Reply](errs[1]); errs[0] != nil || errs[2] != nil || !ok || r.Code != 550 {
					t.Error(errs)
				}
				if _, err := tx.Data(t.Context(), strings.NewReader("hello\r\n")); err != nil {
					t.Error(err)
				}
				if got := p.got(); len(got) != 1 || len(got[0].to) != 3 || p.dialed() != 2 {
					t.Errorf("%+v on %d connections", got, p.dialed())
				}
				settled(t, u, "a@a.test")
			})
		}
	}
}
