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
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/internal/front"
)

// runningApp returns the app of the configuration in force.
func runningApp(t testing.TB) *App {
	t.Helper()
	a, err := caddy.ActiveContext().App("smtp")
	if err != nil {
		t.Fatal(err)
	}
	return a.(*App)
}

// TestReload holds connections and opens others all the while, through twenty
// reloads that change this and that: none is refused, reset or disturbed.
func TestReload(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	config := func(i int) object {
		return caddyConfig(t, object{"servers": object{"local": object{
			"listen": []string{addr}, "tls": object{"mode": "off"},
			"max_message_size": 1000 + i, "max_conns": 5000, "max_conns_per_ip": 5000,
		}}})
	}
	mustLoad(t, config(0))
	defer stopCaddy(t)
	var held []*client
	for range 10 {
		c := dial(t, addr)
		c.login()
		held = append(held, c)
	}
	stop := make(chan struct{})
	var churned, sent atomic.Int64
	var wg sync.WaitGroup
	fail := make(chan error, 8)
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := churn(addr); err != nil {
					select {
					case fail <- err:
					default:
					}
					return
				}
				churned.Add(1)
			}
		})
	}
	for i := 1; i <= 20; i++ {
		mustLoad(t, config(i))
		for _, c := range held {
			// The new size limit is in force.
			c.send(fmt.Sprintf("MAIL FROM:<a@example.com> SIZE=%d\r\n", 1000+i+1))
			c.expect("552")
			c.send(fmt.Sprintf("MAIL FROM:<a@example.com> SIZE=%d\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\nx\r\n", 1000+i))
			c.expect("250")
			c.expect("250")
			c.expect("250")
			sent.Add(1)
		}
	}
	close(stop)
	wg.Wait()
	select {
	case err := <-fail:
		t.Errorf("a connection failed: %v", err)
	default:
	}
	t.Logf("%d reloads, %d connections came and went, %d messages on held ones", 20, churned.Load(), sent.Load())
	if churned.Load() == 0 {
		t.Error("no churn")
	}
	if n := front.References("tcp/" + addr); n != 1 {
		t.Errorf("%d references to the listener, want 1", n)
	}
	if n := len(runningApp(t).Sessions()); n < 10 {
		t.Errorf("%d sessions known, want 10 at least", n)
	}
	// The server moves: the held sessions are told at once.
	other := freeAddr(t)
	cfg := config(0)
	cfg["apps"].(object)["smtp"].(object)["servers"].(object)["local"].(object)["listen"] = []string{other}
	mustLoad(t, cfg)
	for _, c := range held {
		c.expect("421 4.3.2")
		c.expectEOF()
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the old address still answers: %v", err)
	}
	if n := front.References("tcp/" + addr); n != 0 {
		t.Error("the old listener is still held")
	}
}

// TestReloadWrapped reloads a server with a listener wrapper while clients
// come and go: the wrapper belongs to its configuration, the socket to none.
func TestReloadWrapped(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	config := func(i int) object {
		server := object{"listen": []string{addr}, "tls": object{"mode": "off"}, "max_message_size": 1000 + i}
		if i%3 != 2 {
			server["listener_wrappers"] = []any{object{"wrapper": "proxy_protocol", "allow": []string{"127.0.0.0/8"}, "fallback_policy": "IGNORE"}}
		}
		return caddyConfig(t, object{"servers": object{"local": server}})
	}
	mustLoad(t, config(0))
	defer stopCaddy(t)
	stop := make(chan struct{})
	fail := make(chan error, 4)
	var wg sync.WaitGroup
	var churned atomic.Int64
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := churn(addr); err != nil {
					fail <- err
					return
				}
				churned.Add(1)
			}
		})
	}
	for i := 1; i <= 15; i++ {
		mustLoad(t, config(i))
	}
	close(stop)
	wg.Wait()
	select {
	case err := <-fail:
		t.Error(err)
	default:
	}
	t.Logf("15 reloads, %d connections came and went", churned.Load())
	v := front.References("smtp/local")
	if v != 1 {
		t.Errorf("%d references to the server, want 1", v)
	}
	at := runningApp(t).attachments()[0]
	for at.Load() != (front.Load{}) {
		time.Sleep(time.Millisecond)
	}
}

// churn connects, sends a message and quits.
func churn(addr string) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.WriteString(nc, "EHLO c\r\nAUTH PLAIN "+plain(testUser, testPassword)+
		"\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n")
	if err != nil {
		return err
	}
	b, err := io.ReadAll(nc)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(string(b), "250 2.0.0 OK 12345 provider\r\n221 2.0.0 Closing connection\r\n") {
		return fmt.Errorf("got %q", b)
	}
	return nil
}

// TestFailedLoad loads configurations that fail, at each stage: the one in
// force goes on as if nothing had been.
func TestFailedLoad(t *testing.T) {
	caddyUpstream = new(fakeUpstream)
	addr := freeAddr(t)
	config := func() object {
		return caddyConfig(t, object{"servers": object{"local": object{
			"listen": []string{addr}, "tls": object{"mode": "off"}, "max_message_size": 1000,
		}}})
	}
	mustLoad(t, config())
	defer stopCaddy(t)
	c := dial(t, addr)
	c.login()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(apps, servers object){
		"another app does not start": func(apps, servers object) {
			servers["local"].(object)["max_message_size"] = 5
			apps["test_failing"] = object{}
		},
		"an address that cannot be had": func(apps, servers object) {
			servers["local"].(object)["max_message_size"] = 5
			// A host that is not ours.
			servers["other"] = object{"listen": []string{"192.0.2.1:2525"}, "tls": object{"mode": "off"}}
		},
		"a bad option": func(apps, servers object) {
			servers["local"].(object)["max_recipients"] = -1
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				cfg := config()
				apps := cfg["apps"].(object)
				change(apps, apps["smtp"].(object)["servers"].(object))
				if err := load(t, cfg); err == nil {
					t.Fatal("it loaded")
				}
				c.send("MAIL FROM:<a@example.com> SIZE=1000\r\nRSET\r\n")
				c.expect("250")
				c.expect("250")
				if err := churn(addr); err != nil {
					t.Error(err)
				}
				if n := front.References("tcp/" + addr); n != 1 {
					t.Errorf("%d references to the listener, want 1", n)
				}
				if n := front.References("smtp/local"); n != 1 {
					t.Errorf("%d references to the server, want 1", n)
				}
			}
		})
	}
}

func init() { caddy.RegisterModule(new(failingApp)) }

// failingApp fails to start, after our app has had the time to.
type failingApp struct{}

func (*failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_failing", New: func() caddy.Module { return new(failingApp) }}
}
func (*failingApp) Start() error { return errors.New("made to fail") }
func (*failingApp) Stop() error  { return nil }

// TestOptionErrors checks that errors name the server and the option.
func TestOptionErrors(t *testing.T) {
	for want, server := range map[string]object{
		`server "s": max_message_size: must not be negative`:                                                        {"max_message_size": -1},
		`server "s": max_recipients: must not be negative`:                                                          {"max_recipients": -1},
		`server "s": max_conns: must not be negative`:                                                               {"max_conns": -1},
		`server "s": max_conns_per_ip: must not be negative`:                                                        {"max_conns_per_ip": -1},
		`server "s": command_timeout: must not be negative`:                                                         {"command_timeout": -1},
		`server "s": auth_failures: max: must not be negative`:                                                      {"auth_failures": object{"max": -1}},
		`server "s": bare_newline: unrecognized value 'fix'`:                                                        {"bare_newline": "fix"},
		`server "s": envelope: unrecognized value 'x'`:                                                              {"envelope": "x"},
		`server "s": plaintext_auth: `:                                                                              {"plaintext_auth": []string{"10.0.0.0/33"}},
		`server "s": trust: needs networks, as in 192.0.2.7 or 192.0.2.0/24, and an account`:                        {"trust": []any{object{"networks": []string{"10.0.0.0/8"}}}},
		`server "s": trust: `:                                                                                       {"trust": []any{object{"networks": []string{"x"}, "account": "a"}}},
		`server "s": listen: `:                                                                                      {"listen": []string{"127.0.0.1:99999"}},
		`server "s": tls: mode: 'ssl' is not starttls, implicit or off; did you mean 'implicit'`:                    {"tls": object{"mode": "ssl"}},
		`server "s": listen: '2525' is a port without its colon; did you mean ':2525'?`:                             {"listen": []string{"2525"}},
		`server "s": listen: '::1:2525' is an IPv6 address without its brackets; did you mean '[::1]:2525'?`:        {"listen": []string{"::1:2525"}},
		`server "s": listen: 'smtp://:2525' is a URL`:                                                               {"listen": []string{"smtp://:2525"}},
		`server "s": envelope: unrecognized value 'faithfull', want faithful or deferred; did you mean 'faithful'?`: {"envelope": "faithfull"},
		`server "s": lf_only: '10.0.0.*' is not an IP address or prefix; did you mean '10.0.0.0/24'?`:               {"lf_only": []string{"10.0.0.*"}},
		`server "s": tls: certificate and key belong together`:                                                      {"tls": object{"certificate": "/x"}},
		`server "s": tls: mode 'off' takes no other options`:                                                        {"tls": object{"mode": "off", "legacy": true}},
		`server "s": tls: client_certificate_login: needs`:                                                          {"tls": object{"client_certificate_login": true}},
		`server "s": tls: stat /nonexistent/cert.pem`:                                                               {"tls": object{"certificate": "/nonexistent/cert.pem", "key": "/k"}},
		`servers.s.max_sizes: unknown field`:                                                                        {"max_sizes": 1},
	} {
		err := load(t, caddyConfig(t, object{"servers": object{"s": server}}))
		if err == nil {
			_ = caddy.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	addr := freeAddr(t)
	off := object{"listen": []string{addr}, "tls": object{"mode": "off"}}
	err := load(t, caddyConfig(t, object{"servers": object{"a": off, "b": off}}))
	if err == nil || !strings.Contains(err.Error(), "address in use by server") {
		t.Errorf("got %v", err)
	}
	if err := load(t, caddyConfig(t, object{"drain_timeout": -1})); err == nil || !strings.Contains(err.Error(), "drain_timeout") {
		t.Errorf("got %v", err)
	}
}

// TestExit stops as the process does when it exits: what is on its way is
// waited for, and nobody else.
func TestExit(t *testing.T) {
	up := &fakeUpstream{hold: make(chan struct{}), inData: make(chan struct{}, 1)}
	caddyUpstream = up
	addr := freeAddr(t)
	mustLoad(t, caddyConfig(t, object{"drain_timeout": "1m", "servers": object{"local": object{
		"listen": []string{addr}, "tls": object{"mode": "off"},
	}}}))
	defer stopCaddy(t)
	idle, busy := dial(t, addr), dial(t, addr)
	idle.login()
	busy.play(states["rcpt"])
	busy.send("DATA\r\n")
	busy.expect("354")
	busy.send("x\r\n.\r\n")
	<-up.inData
	app := runningApp(t)
	stopped := make(chan struct{})
	go func() { defer close(stopped); app.stop(true) }()
	idle.expect("421 4.3.2 Service shutting down")
	idle.expectEOF()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("somebody still comes in")
	}
	select {
	case <-stopped:
		t.Error("the message was not waited for")
	default:
	}
	close(up.hold)
	busy.expect("250 2.0.0 OK 12345 provider")
	busy.expect("421 4.3.2")
	busy.expectEOF()
	<-stopped
	if n := len(up.taken()); n != 1 {
		t.Errorf("%d messages delivered, want 1", n)
	}
}
