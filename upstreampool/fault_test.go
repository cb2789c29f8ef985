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
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settled waits until nothing of the account is under way and checks that every
// slot was given back.
func settled(t *testing.T, u *upstream, name string) {
	t.Helper()
	u.closing.Wait()
	if n, counted := u.count(), u.conns.Load(); int64(n.Idle+n.Busy+n.Opening) != counted {
		t.Errorf("%d connections are counted, there are %+v", counted, n)
	}
	ac := u.peek(name)
	if ac == nil {
		return
	}
	lim := ac.lim.Status(t.Context())
	ac.mu.Lock()
	defer ac.mu.Unlock()
	if ac.dialing != 0 || ac.nWait != 0 {
		t.Errorf("%d dialing, %d waiting", ac.dialing, ac.nWait)
	}
	if ac.conns != ac.nIdle {
		t.Errorf("%d connections, %d idle", ac.conns, ac.nIdle)
	}
	if lim.Messages != 0 || lim.Recipients != 0 || ac.pins != 0 {
		t.Errorf("held: %d messages, %d recipients, %d uses", lim.Messages, lim.Recipients, ac.pins)
	}
}

func single(u *upstream, a *accounts.Account, body string) error {
	reply, _, err := u.send(context.Background(), a, "from@a.test", nil, relay.Recipient{To: "to@b.test"}, strings.NewReader(body))
	if err == nil && !reply.Positive() {
		return errors.New("no error and no positive reply")
	}
	return err
}

// TestFaults breaks every stage in every way, on fresh and pooled connections,
// with both framings and both ways to send: the gateway never says that a
// message was delivered which the provider does not hold, the provider never
// holds it twice, and the pool is sound afterwards.
func TestFaults(t *testing.T) {
	stages := []string{"<connect>", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "<body>", "<end>"}
	faults := []string{
		"421 4.3.2 closing<close>", "<close>", "<reset>", "<hang>", "garbage", "450 4.2.0 later", "432 4.3.2 Concurrent connections limit exceeded",
		"550 5.1.1 no", "354 go ahead", "299-" + strings.Repeat("x", 5000), strings.Repeat("250-x\r\n", 200) + "250 x", "<kept><close>",
	}
	bodies := map[string]string{"small": "Subject: x\r\n\r\n.hello\r\n", "large": strings.Repeat(strings.Repeat("0123456789abcdef", 50)+"\r\n", 400)}
	for _, framing := range []string{framingAuto, framingData} {
		for _, pooled := range []bool{false, true} {
			for _, way := range []string{"two", "one"} {
				for size, body := range bodies {
					t.Run(fmt.Sprintf("%s/pooled=%v/%s/%s", framing, pooled, way, size), func(t *testing.T) {
						t.Parallel()
						for i, stage := range stages {
							if size == "large" && i < 5 {
								continue // the body has not begun
							}
							for _, fault := range faults {
								if fault == "<kept><close>" && stage != "<end>" || fault == "<hang>" && size == "large" {
									continue
								}
								testFault(t, framing, pooled, way, stage, fault, body)
							}
						}
					})
				}
			}
		}
	}
}

func testFault(t *testing.T, framing string, pooled bool, way, stage, fault, body string) {
	t.Helper()
	armed := make(chan bool, 1)
	p := newProvider(t, func(p *provider) {
		p.hook = func(_ *serverConn, line string) string {
			if !strings.HasPrefix(line, stage) {
				return ""
			}
			select {
			case <-armed:
				return fault
			default:
				return ""
			}
		}
	})
	s := testSettings(t, p, func(tr *SMTPTransport) { tr.Framing = framing })
	s.DialTimeout, s.CommandTimeout, s.DataTimeout = 2*time.Second, 2*time.Second, 2*time.Second
	if fault == "<hang>" {
		s.DialTimeout, s.CommandTimeout, s.DataTimeout = 150*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond
		s.GreetingTimeout = s.DialTimeout
	}
	s.name += fmt.Sprintf("-%p", p)
	patient := *s
	patient.DialTimeout, patient.CommandTimeout, patient.DataTimeout = 10*time.Second, 10*time.Second, 10*time.Second
	patient.GreetingTimeout = patient.DialTimeout
	u := attach(&patient) // what precedes and follows the fault has no hurry
	a := testAccount("a@a.test")
	send := func(tag string) error {
		if way == "one" {
			return single(u, a, tag+body)
		}
		return deliver(u, a, tag+body)
	}
	if pooled {
		if err := send("before"); err != nil {
			t.Fatalf("%s %.20q: warming: %v", stage, fault, err)
		}
	}
	u.attach(s)
	u.detach(&patient)
	armed <- true
	err := send("broken")
	where := fmt.Sprintf("stage %s, fault %.20q: %v", stage, fault, err)
	if err != nil {
		r, ok := errors.AsType[*relay.Reply](err)
		if !ok {
			t.Fatalf("not a reply: %s", where)
		}
		want := 4
		if strings.HasPrefix(fault, "5") && stage != "<connect>" && stage != "EHLO" && stage != "AUTH" {
			want = 5
		}
		if r.Code/100 != want {
			t.Errorf("class of %v: %s", r, where)
		}
		for _, l := range r.Lines {
			if strings.ContainsAny(l, "\r\n\x00") {
				t.Errorf("control characters in %q", l)
			}
		}
	}
	select {
	case <-armed: // the stage was never reached
	default:
	}
	settled(t, u, a.Name)
	if ac := u.peek(a.Name); ac != nil {
		ac.mu.Lock()
		ac.adapt.Forgive() // the pause after a refused login is another test's
		ac.mu.Unlock()
	}
	u.attach(&patient)
	u.detach(s)
	if err := send("after"); err != nil {
		t.Errorf("the message after: %v; %s", err, where)
	}
	settled(t, u, a.Name)
	u.detach(&patient)
	u.closing.Wait()
	u.limits.Wait()
	p.stop() // and all that the provider still had to say to itself
	if n := p.holds("after" + body); n != 1 {
		t.Errorf("the message after is held %d times; %s", n, where)
	}
	switch n := p.holds("broken" + body); {
	case err == nil && n != 1:
		t.Errorf("delivered, and held %d times; %s", n, where)
	case n > 1:
		t.Errorf("held %d times; %s", n, where)
	case err != nil && n == 1 && !errors.Is(err, relay.ReplyDeliveryUnknown):
		t.Error("held and refused; " + where)
	}
	if n := len(p.got()); n != p.holds("before"+body)+p.holds("broken"+body)+1 {
		t.Errorf("%d messages, some of them nobody's; %s", n, where)
	}
}
