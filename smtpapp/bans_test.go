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
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymail/mailgateway/internal/front"
)

// TestBan fails to log in until the address is banned, and checks that the
// ban is that address's alone.
func TestBan(t *testing.T) {
	p := testPolicy()
	p.guard.Max, p.guard.Ban, p.MaxAuthTries = 3, time.Hour, 100
	p.plaintextAuth, _ = front.ParsePrefixes([]string{"0.0.0.0/0", "::/0"})
	p.guard.Exempt, _ = front.ParsePrefixes([]string{"192.0.2.0/24"})
	up, source := new(fakeUpstream), new(testSource)
	source.index.Set(mustCompile(t, testRecord(testUser)))
	g := newTestGeneration(t, up, source, p)
	core, logs := observer.New(zapcore.WarnLevel)
	g.logger = zap.New(core)
	pt := newPoint()
	pt.attach(g)
	login := func(c *client, mech, password, want string) {
		t.Helper()
		if mech == "LOGIN" {
			c.send("AUTH LOGIN " + b64(testUser) + "\r\n" + b64(password) + "\r\n")
			c.expect("334")
		} else {
			c.send("AUTH PLAIN " + plain(testUser, password) + "\r\n")
		}
		c.expect(want)
	}
	hello := func(ip string) *client {
		t.Helper()
		c := pipeClient(t, pt, g, ip)
		c.play("M: 220\nC: EHLO c\nM: 250")
		return c
	}
	open, begun := hello("2001:db8:0:1::5"), hello("2001:db8:0:1::6")
	begun.play("C: AUTH LOGIN " + b64(testUser) + "\nM: 334")
	c := hello("2001:db8:0:1::1")
	for range 10 { // a stale password is no guess, nor is the same by another mechanism
		login(c, "PLAIN", "old", "535 5.7.8")
		login(c, "LOGIN", "old", "535 5.7.8")
	}
	login(c, "PLAIN", "guess 2", "535 5.7.8")
	c = hello("2001:db8:0:1::2") // the same /64
	login(c, "LOGIN", "guess 3", "535 5.7.8")
	login(c, "PLAIN", testPassword, "421 4.7.0")
	c.expectEOF()
	// Connections that were open before, exchanges that were begun before it.
	login(open, "PLAIN", testPassword, "421 4.7.0")
	begun.send(b64(testPassword) + "\r\n")
	begun.expect("421 4.7.0")
	c = pipeClient(t, pt, g, "2001:db8:0:1::3")
	c.expect("421 4.7.0")
	c.expectEOF()
	c = hello("2001:db8:0:2::1")
	login(c, "PLAIN", testPassword, "235")
	if n := logs.FilterMessage("address banned").Len(); n != 1 {
		t.Errorf("the ban was said %d times", n)
	}
	if n := logs.FilterField(zap.String("cause", "banned")).Len(); n != 1 {
		t.Errorf("that it came back was said %d times", n)
	}
	// An exempt network is never banned.
	for i := range 4 {
		c = hello("192.0.2.9")
		login(c, "PLAIN", "guess "+strconv.Itoa(i), "535 5.7.8")
	}
	login(c, "PLAIN", testPassword, "235")
	// A ban that is lifted is forgotten.
	if bans := g.guard.Bans(); len(bans) != 1 || bans[0].Server != "test" || bans[0].Refused != 4 {
		t.Errorf("bans %+v", bans)
	}
	if n := g.guard.Lift("test", netip.MustParsePrefix("2001:db8:0:1::3/128")); n != 1 {
		t.Errorf("%d lifted", n)
	}
	c = hello("2001:db8:0:1::3")
	login(c, "PLAIN", "guess 4", "535 5.7.8")
	login(c, "PLAIN", testPassword, "235")
}

// TestBanIsOfItsServer bans an address at one server, and lets it in at another.
func TestBanIsOfItsServer(t *testing.T) {
	s, _ := observe(t, func(p *policy) { p.guard.Max = 1 })
	source, guard := s.source, s.gen.guard
	lenient := newTestGeneration(t, s.up, source, testPolicy())
	lenient.name, lenient.guard = "lenient", guard
	pt := newPoint()
	pt.attach(lenient)
	for _, tc := range []struct{ password, strict, lenient string }{
		{"wrong", "535", "535"},
		{testPassword, "421", "235"},
	} {
		c := dial(t, s.addr)
		if tc.strict != "421" {
			c.play("M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain(testUser, tc.password))
		}
		c.expect(tc.strict)
		pipeClient(t, pt, lenient, "127.0.0.1").play("M: 220\nC: EHLO c\nM: 250\nC: AUTH PLAIN " + plain(testUser, tc.password) + "\nM: " + tc.lenient)
	}
}

// TestParallelGuesses has every connection's password ready before the first
// is judged: no more are tried than lead to the ban.
func TestParallelGuesses(t *testing.T) {
	p := testPolicy()
	p.guard.Max, p.guard.Ban = 5, time.Hour
	source := new(testSource)
	source.index.Set(mustCompile(t, testRecord(testUser)))
	g := newTestGeneration(t, new(fakeUpstream), source, p)
	g.metrics = newMetrics()
	pt := newPoint()
	pt.attach(g)
	clients := make([]*client, 60)
	for i := range clients {
		clients[i] = pipeClient(t, pt, g, "127.0.0.1")
		clients[i].play("M: 220\nC: EHLO c\nM: 250\nC: AUTH LOGIN " + b64(testUser) + "\nM: 334")
	}
	for i, c := range clients {
		c.send(b64("guess "+strconv.Itoa(i)) + "\r\n")
	}
	heard := make(map[string]int)
	for _, c := range clients {
		line, err := c.line()
		if err != nil {
			t.Fatal(err)
		}
		heard[line[:3]]++
	}
	if heard["535"] != 5 || heard["421"] != len(clients)-5 {
		t.Errorf("heard %v", heard)
	}
}

// TestExempt reads which networks are never banned.
func TestExempt(t *testing.T) {
	for _, tc := range []struct {
		list []string
		want map[string]bool
	}{
		{nil, map[string]bool{"127.0.0.1": true, "::1": true, "127.8.9.1": true, "192.0.2.1": false}},
		{[]string{"192.0.2.0/24"}, map[string]bool{"127.0.0.1": true, "192.0.2.1": true, "198.51.100.1": false}},
		{[]string{"none"}, map[string]bool{"127.0.0.1": false, "::1": false}},
		{[]string{"none", "192.0.2.1"}, map[string]bool{"127.0.0.1": false, "192.0.2.1": true}},
	} {
		list, err := (&AuthFailures{Exempt: tc.list}).exempt()
		if err != nil {
			t.Fatal(err)
		}
		for addr, want := range tc.want {
			if got := front.Contains(list, netip.MustParseAddr(addr)); got != want {
				t.Errorf("%v: %s: %v, want %v", tc.list, addr, got, want)
			}
		}
	}
	if _, err := (&AuthFailures{Exempt: []string{"none", "office"}}).exempt(); err == nil {
		t.Error("a network that is none")
	}
}

func TestClientKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":         "192.0.2.1/32",
		"2001:db8::1":       "2001:db8::/64",
		"2001:db8::1:2:3:4": "2001:db8::/64",
	} {
		if got := clientKey(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if clientKey(netip.Addr{}).IsValid() {
		t.Error("no address")
	}
}

// FuzzAuth runs an exchange with whatever responses come.
func FuzzAuth(f *testing.F) {
	f.Add("PLAIN "+plain(testUser, testPassword), "", "")
	f.Add("PLAIN", plain("a", "b"), "")
	f.Add("LOGIN", b64("a"), b64("b"))
	f.Add("LOGIN =", "*", "=")
	f.Add("LOGIN", "", "\x00")
	source := new(testSource)
	source.index.Set(mustCompile(f, testRecord(testUser)))
	g := newTestGeneration(f, new(fakeUpstream), source, testPolicy())
	f.Fuzz(func(t *testing.T, args, first, second string) {
		if strings.ContainsAny(args+first+second, "\r\n") {
			return
		}
		p := newPoint()
		p.attach(g)
		raw := "EHLO x\r\nAUTH " + args + "\r\n" + first + "\r\n" + second + "\r\n"
		nc := &scriptConn{in: cutReader{b: []byte(raw), cut: 4096}}
		p.Serve(g.front, nc, nil)
		ok := strings.Contains(nc.out.String(), "\r\n235 ")
		if ok && !strings.Contains(raw, plain(testUser, testPassword)) && !strings.Contains(raw, b64(testPassword)) {
			// Another spelling of the right password is fine; there
			// is no other way in.
			for _, s := range []string{args, first, second} {
				_, s, _ = strings.Cut(" "+s, " ")
				if b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "PLAIN ")); err == nil && strings.Contains(string(b), testPassword) {
					return
				}
			}
			t.Errorf("logged in by %q", raw)
		}
	})
}
