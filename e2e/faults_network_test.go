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
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/e2e/faultproxy"
	"github.com/caddymail/mailgateway/internal/testpki"
	"github.com/caddymail/mailgateway/sandbox"
)

// numbered is one message of TestBrokenNetwork and the last word on it.
type numbered struct {
	user  string
	reply string // empty if the session ended without
}

// numberedBody is the message of a number: its own octets, and now and then many.
func numberedBody(n int, rnd *rand.Rand) []byte {
	lines := rnd.IntN(40)
	if rnd.IntN(50) == 0 {
		lines = rnd.IntN(12_000)
	}
	return append(fmt.Appendf(nil, "Subject: %d\r\n\r\n", n), bytes.Repeat(fmt.Appendf(nil, ".%d and so on\r\n", n), lines)...)
}

// numberedSend sends one message in one of the framings.
func (c *client) numberedSend(user string, body []byte, rnd *rand.Rand) (text string, alive bool) {
	if rnd.IntN(2) == 0 {
		return c.chaosSend(user, body)
	}
	for _, s := range []string{"MAIL FROM:<" + user + ">\r\n", "RCPT TO:<x@example.net>\r\n", "DATA\r\n"} {
		if s[0] == 'D' && rnd.IntN(32) == 0 { // or at this one
			time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		}
		if text = c.chaosAsk(s); text == "" || text[0] != '2' && text[0] != '3' {
			return text, text != "" && c.chaosAsk("RSET\r\n") != ""
		}
	}
	text = c.chaosAsk(string(dotStuff(body)))
	return text, text != ""
}

func fromEnv(t testing.TB, name string, def int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(def)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// brokenNetwork is what lies between the gateway and the provider.
type brokenNetwork struct {
	name string
	tls  bool
}

// TestBrokenNetwork: numbered messages of several accounts through a network
// that breaks, delays and repeats at any octet, in the clear and within TLS,
// while the gateway is killed and its configuration changes. What was
// acknowledged is held once, unchanged, under the login of its client.
// MAILGATEWAY_MESSAGES is how many are sent, MAILGATEWAY_SEED what happens.
//
// That it would show a gateway that believes replies too many is shown by
//
//	GOFLAGS=-overlay=$(scripts/sabotage) go test -count=1 -run TestBrokenNetwork ./e2e
//
// which builds one without the checks for them, and must fail.
func TestBrokenNetwork(t *testing.T) {
	for _, n := range []brokenNetwork{{"clear", false}, {"TLS", true}} {
		t.Run(n.name, n.run)
	}
}

// provider is what the gateway is to dial: a proxy that breaks SMTP, and for TLS
// another in front of it that breaks the ciphertext.
func (n *brokenNetwork) provider(t *testing.T, w *world, seed int) (proxies []*faultproxy.Proxy) {
	cfg := faultproxy.Config{Target: w.sandbox.SMTPAddr(), Seed: uint64(seed), Mean: 5_000}
	if n.tls {
		pair := testpki.SelfSigned(testpki.Leaf{Names: []string{"127.0.0.1"}, Trusted: true})
		cfg.Target = w.sandbox.SMTPSAddr()
		cfg.Near = &tls.Config{Certificates: []tls.Certificate{pair}}                 //nolint:gosec // Go's default version
		cfg.Far = &tls.Config{RootCAs: w.sandbox.CertPool(), ServerName: "127.0.0.1"} //nolint:gosec // Go's default version
		file, _, err := testpki.Write(t.TempDir(), pair)
		if err != nil {
			t.Fatal(err)
		}
		w.upstream()["tls"] = object{"mode": "implicit", "trust_pool": object{"provider": "file", "pem_files": []string{file}}}
	}
	proxies = append(proxies, startProxy(t, cfg))
	if n.tls {
		proxies = append(proxies, startProxy(t, faultproxy.Config{
			Target: proxies[0].Addr(), Seed: uint64(seed), Mean: 50_000,
			// No stall and no half-close: a flight that is held up there for longer
			// than the other proxy allows for, or lost, would cross a stray unseen.
			Kinds: []faultproxy.Kind{faultproxy.Reset, faultproxy.Delay, faultproxy.Split},
		}))
	}
	w.upstream()["dial"] = proxies[len(proxies)-1].Addr()
	return proxies
}

func startProxy(t *testing.T, cfg faultproxy.Config) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// reload gives a process its configuration anew.
func (w *world) reload(admin string) {
	w.t.Helper()
	resp, err := http.Post("http://"+admin+"/load", "application/json", bytes.NewReader(w.json()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("reload: %s %s", resp.Status, text)
	}
}

// run is TestBrokenNetwork with one kind of network.
func (n *brokenNetwork) run(t *testing.T) {
	const boxes, clients, events = 4, 16, 6
	total, seed := fromEnv(t, "MAILGATEWAY_MESSAGES", 6000)/2, fromEnv(t, "MAILGATEWAY_SEED", 1)
	second, admin := freeAddr(t), freeAddr(t)
	opts := []option{
		withUpstream("max_conns_per_account", 4),
		withUpstream("tls", object{"mode": "off"}), // so that the proxy can read along
		withSandbox(func(sb *sandbox.App) {
			sb.PlaintextAuth, sb.KeepBodies, sb.KeepMessages = true, false, 2*total
		}),
		func(w *world, _ *sandbox.App) {
			w.config["admin"] = object{"listen": admin, "config": object{"persist": false}}
			w.app("smtp")["servers"].(object)["second"] = object{
				"listen": []string{second}, "tls": object{"mode": "off"}, "envelope": "deferred",
			}
		},
	}
	for i := range boxes {
		box := fmt.Sprintf("box%d@example.com", i)
		opts = append(opts, withAccount(account(box, box)))
	}
	w := newProcessWorld(t, opts...)
	proxies := n.provider(t, w, seed)
	p := w.run()

	sent := make([]numbered, total)
	sums := make([]string, total)
	var next atomic.Int64
	due := make(chan struct{}, events)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
			at := *w
			at.addr = []string{w.addr, second}[i/boxes%2]
			user := fmt.Sprintf("box%d@example.com", i%boxes)
			var c *client
			for {
				n := int(next.Add(1)) - 1
				if n >= total {
					break
				}
				if n%(total/(events+1)) == 0 && n > 0 {
					select {
					case due <- struct{}{}:
					default:
					}
				}
				if rnd.IntN(32) == 0 { // replies too many come at pauses
					time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
				body := numberedBody(n, rnd)
				sums[n], sent[n].user = digest(body), user
				for deadline := time.Now().Add(time.Minute); c == nil && time.Now().Before(deadline); {
					if c = at.chaosClient(user); c == nil {
						time.Sleep(20 * time.Millisecond) // until it is there again
					}
				}
				if c == nil {
					continue // never sent
				}
				_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
				var alive bool
				if sent[n].reply, alive = c.numberedSend(user, body, rnd); !alive {
					c.conn.Close()
					c = nil
				}
			}
			if c != nil {
				c.conn.Close()
			}
		})
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	reloads, kills := 0, 0
	for waiting := true; waiting; {
		select {
		case <-over:
			waiting = false
		case <-due:
			if reloads > 2*kills {
				kills++
				p.signal(syscall.SIGKILL)
				_ = p.wait()
				p = w.run()
				continue
			}
			reloads++
			w.upstream()["max_conns_per_account"] = 3 + reloads%2
			w.reload(admin)
		}
	}
	for _, proxy := range proxies {
		proxy.Calm()
	}
	p.signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		t.Errorf("the gateway's end: %v\n%s", err, p.out.String())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.sandbox.WaitNoConns(ctx); err != nil {
		t.Errorf("upstream connections left over: %v", err)
	}

	number := make(map[string]int, total)
	for n, sum := range sums {
		number[sum] = n
	}
	held := make([]int, total)
	for _, m := range w.sandbox.Messages() {
		n, ok := number[m.SHA256]
		if !ok {
			t.Errorf("the provider holds a message of %d octets that was never sent", m.Size)
			continue
		}
		held[n]++
		if m.Mailbox != sent[n].user {
			t.Errorf("message %d of %s came as %s", n, sent[n].user, m.Mailbox)
		}
	}
	acknowledged, unknown, crossed := 0, 0, 0
	for n, m := range sent {
		switch {
		case strings.HasPrefix(m.reply, "250 "):
			acknowledged++
			if held[n] == 0 && proxies[0].Crossed(strconv.Itoa(n)) {
				crossed++ // two replies that nothing asked for, and RSET is deceived too
			} else if held[n] != 1 {
				t.Errorf("message %d of %s was acknowledged and is held %d times: %s", n, m.user, held[n], m.reply)
			}
		case m.reply == "" || strings.Contains(m.reply, "delivery unknown"):
			unknown++
			if held[n] > 1 {
				t.Errorf("message %d of %s is held %d times: %q", n, m.user, held[n], m.reply)
			}
		case held[n] != 0:
			t.Errorf("message %d of %s was refused and is held %d times: %s", n, m.user, held[n], m.reply)
		}
	}
	hits := ""
	for _, k := range faultproxy.Kinds() {
		hits += fmt.Sprintf(" %s %d", k, proxies[0].Hits(k))
		if proxies[0].Hits(k) == 0 {
			t.Errorf("no %s has happened", k)
		}
	}
	t.Logf("seed %d: %d of %d acknowledged, %d unknown, %d met a stray reply on their way, %d reloads, %d kills, faults:%s", seed, acknowledged, total, unknown, crossed, reloads, kills, hits)
	if crossed > 1 {
		t.Errorf("%d acknowledged messages met a stray reply and are missing", crossed)
	}
	if acknowledged < total/2 || reloads == 0 || kills == 0 {
		t.Error("too little happened for this to show anything")
	}
}
