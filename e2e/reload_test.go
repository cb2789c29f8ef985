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

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/sandbox"
)

const (
	reloads       = 100
	reloadClients = 6
	reloadConns   = 4 // max_conns_per_account at the provider
)

// trySend sends one message over an own connection. Any trouble is an error.
func trySend(addr, user string, n int) error {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if err := tryCommand(c, 250, "EHLO client.test"); err != nil {
		return err
	}
	if err := tryCommand(c, 235, "AUTH PLAIN "+plain(user, testPassword)); err != nil {
		return err
	}
	return tryMessage(c, user, n)
}

func tryCommand(c *textproto.Conn, code int, cmd string) error {
	if err := c.PrintfLine("%s", cmd); err != nil {
		return fmt.Errorf("sending %.4s: %w", cmd, err)
	}
	if _, _, err := c.ReadResponse(code); err != nil {
		return fmt.Errorf("%.4s: %w", cmd, err)
	}
	return nil
}

func tryMessage(c *textproto.Conn, user string, n int) error {
	for _, step := range []struct {
		code int
		cmd  string
	}{
		{250, "MAIL FROM:<" + user + ">"},
		{250, "RCPT TO:<someone@example.net>"},
		{354, "DATA"},
		{250, fmt.Sprintf("Subject: %d\r\n\r\nhello\r\n.", n)},
	} {
		if err := tryCommand(c, step.code, step.cmd); err != nil {
			return err
		}
	}
	return nil
}

// TestReloadIsInvisible: traffic, connection churn and idle sessions across a
// hundred reloads that change listeners, limits, accounts and upstreams.
func TestReloadIsInvisible(t *testing.T) {
	second, secure := freeAddr(t), freeAddr(t)
	certs := [2]object{selfSigned(t, "one"), selfSigned(t, "two")}
	w := newWorld(t,
		func(w *world, _ *sandbox.App) {
			w.app("smtp")["servers"].(object)["secure"] = object{"listen": []string{secure}, "tls": certs[0]}
		},
		withUpstream("max_conns_per_account", reloadConns),
		withAccount(account("other@example.com", "other@example.com")),
		withSandbox(func(sb *sandbox.App) { sb.KeepBodies = false; sb.MaxConnsPerMailbox = reloadConns }))

	// Idle sessions that must live through it all.
	idle := []*client{w.login(), w.login(), w.login()}

	var (
		sent, failed atomic.Int64
		firstErr     sync.Once
		stop         = make(chan struct{})
		wg           sync.WaitGroup
	)
	report := func(err error) {
		failed.Add(1)
		firstErr.Do(func() { t.Errorf("first failure after %d messages: %v", sent.Load(), err) })
	}
	for i := range reloadClients {
		user := []string{testUser, "other@example.com"}[i%2]
		wg.Go(func() { // connection churn
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := trySend(w.addr, user, n); err != nil {
					report(err)
				} else {
					sent.Add(1)
				}
			}
		})
	}
	wg.Go(func() { // one long session
		c, err := textproto.Dial("tcp", w.addr)
		if err != nil {
			report(err)
			return
		}
		defer c.Close()
		if _, _, err := c.ReadResponse(220); err != nil {
			report(err)
			return
		}
		for _, cmd := range []struct {
			code int
			line string
		}{{250, "EHLO client.test"}, {235, "AUTH PLAIN " + plain(testUser, testPassword)}} {
			if err := tryCommand(c, cmd.code, cmd.line); err != nil {
				report(err)
				return
			}
		}
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := tryMessage(c, testUser, n); err != nil {
				report(err)
				return
			}
			sent.Add(1)
		}
	})

	var served [2]atomic.Int64 // handshakes with either certificate
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			conn, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // which certificate it is, is the question
			if err != nil {
				report(fmt.Errorf("TLS: %w", err))
				return
			}
			if _, err := textproto.NewConn(conn).ReadLine(); err != nil {
				report(fmt.Errorf("TLS greeting: %w", err))
				return
			}
			switch conn.ConnectionState().PeerCertificates[0].Subject.CommonName {
			case "one":
				served[0].Add(1)
			case "two":
				served[1].Add(1)
			}
			conn.Close()
		}
	})

	inline := w.app("smtp")["accounts"].([]any)[0].(object)
	base := inline["accounts"].([]any)
	for i := range reloads {
		// Each configuration sees traffic before the next one comes.
		for goal := sent.Load() + 5; sent.Load() < goal && failed.Load() == 0; {
			time.Sleep(time.Millisecond) // the counter gives no other sign
		}
		switch i % 7 {
		case 0: // limits of the front
			w.server()["max_recipients"] = 50 + i
		case 1: // one more account, one fewer
			inline["accounts"] = append(base[:len(base):len(base)], account(fmt.Sprintf("extra%d@example.com", i), "extra@example.com"))
		case 2: // one more listener, then gone again
			w.server()["listen"] = []string{w.addr, second}
		case 3:
			w.server()["listen"] = []string{w.addr}
		case 4: // tunables of the upstream
			w.upstream()["max_wait"] = fmt.Sprintf("%ds", 20+i%7)
		case 5: // the certificate
			w.app("smtp")["servers"].(object)["secure"].(object)["tls"] = certs[(i/7+1)%2]
		case 6: // a configuration that cannot be had leaves everything as it was
			w.server()["bare_newline"] = "explode"
			if err := caddy.Load(w.json(), true); err == nil || !strings.Contains(err.Error(), "bare_newline") {
				t.Errorf("a bad configuration was answered %v", err)
			}
			delete(w.server(), "bare_newline")
			continue
		}
		w.load()
	}
	close(stop)
	wg.Wait()

	if served[0].Load() == 0 || served[1].Load() == 0 {
		t.Errorf("the certificates were served %d and %d times", served[0].Load(), served[1].Load())
	}
	for i, c := range idle {
		if rep := c.send("idle\r\n"); rep.code != 250 {
			t.Errorf("idle session %d: %q", i, rep)
		}
		sent.Add(1)
	}
	if failed.Load() != 0 {
		t.Errorf("%d of %d transactions failed", failed.Load(), failed.Load()+sent.Load())
	}
	if got := int64(w.sandbox.MessageCount()); got != sent.Load() {
		t.Errorf("the provider holds %d messages, the clients saw %d accepted", got, sent.Load())
	}
	st := w.sandbox.Stats()
	for _, box := range []string{testUser, "other@example.com"} {
		ms := st.Mailboxes[box]
		if ms.ConnsPeak > reloadConns || ms.Limited != 0 {
			t.Errorf("%s: %d connections at once at the provider, limit %d", box, ms.ConnsPeak, reloadConns)
		}
		// Reuse: no more connections than messages per connection and the
		// number of connections at a time account for.
		if most := ms.Messages/100 + 2*reloadConns; ms.ConnsTotal > most {
			t.Errorf("%s: %d connections for %d messages: the pool did not live through the reloads", box, ms.ConnsTotal, ms.Messages)
		}
	}
	if posts := st.TokenPosts["refresh_token"]; posts > 2 {
		t.Errorf("%d token requests, want one per mailbox", posts)
	}
	t.Logf("%d messages, %d upstream connections over %d reloads", sent.Load(), st.ConnsTotal, reloads)
}

// selfSigned writes a certificate with that common name, and returns the
// server's TLS options for it.
func selfSigned(t *testing.T, name string) object {
	t.Helper()
	cert, key, err := testpki.Write(t.TempDir(), testpki.SelfSigned(testpki.Leaf{CommonName: name, Names: []string{"gateway.test"}}))
	if err != nil {
		t.Fatal(err)
	}
	return object{"mode": "implicit", "certificate": cert, "key": key}
}

// TestNothingLeft: loads and stops leave no goroutine and no descriptor behind.
func TestNothingLeft(t *testing.T) {
	run := func() {
		w := newWorld(t)
		c := w.login()
		if rep := c.send("x\r\n"); rep.code != 250 {
			t.Fatalf("final reply %q", rep)
		}
		c.conn.Close()
		for i := range 5 {
			w.server()["max_recipients"] = 50 + i
			w.load()
		}
		w.close()
		w.sandbox.Close()
	}
	run() // what starts once for the process starts here
	// certmagic's file lock leaves a goroutine that ends within five seconds.
	ignore := []goleak.Option{
		goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	}
	descriptors := openDescriptors(t)
	run()
	goleak.VerifyNone(t, ignore...)
	if after := openDescriptors(t); after > descriptors {
		t.Errorf("%d descriptors are open, %d were before", after, descriptors)
	}
}

// openDescriptors counts the sockets and files of this process.
func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0 // no such count on this system
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
