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
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddymail/mailgateway/sandbox"
)

// The fault matrix: every way for a provider to fail, at every stage, by each
// framing, on a fresh and on a pooled connection. All cases run at once in one
// gateway, each with an account, an upstream and a provider of its own; so they
// show, too, that one account's trouble stays its own.

// faultCase is one fault. An outcome is the codes of the replies to two RCPTs
// and to the message, "-" for none, and is matched by a regular expression.
type faultCase struct {
	stage  string
	fault  sandbox.Fault
	hang   bool // the gateway's own timeouts decide
	fresh  string
	pooled string
	large  bool // needs a body that streams
	// arm and pooledArm are for what is no fault of one connection.
	arm, pooledArm func(*sandbox.Sandbox)
}

const (
	none     = `^4\d\d 4\d\d -$`               // nothing was accepted
	sent     = `^250 250 250$`                 // as if nothing had happened
	either   = `^(4\d\d 4\d\d -|250 250 250)$` // nothing was committed, so both are right
	lostLate = `^250 250 4\d\d$`               // lost with the message
	lostRcpt = `^250 4\d\d 4\d\d$`             // lost at the second RCPT
)

const (
	reply421 = "421 4.3.2 Service shutting down"
	reply432 = "432 4.3.2 Concurrent connections limit exceeded"
	reply454 = "454 4.7.0 Too many login attempts"
	reply535 = "535 5.7.3 Authentication unsuccessful"
	reply334 = "334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiQmVhcmVyIn0="
)

func replyFault(stage, text string, nth int) sandbox.Fault {
	return sandbox.Fault{Stage: stage, Action: "reply", Reply: text, Nth: nth}
}

// faultCases lists them for one framing of the upstream.
func faultCases(framing string) []faultCase {
	var cases []faultCase
	add := func(c faultCase) {
		c.hang = c.hang || c.fault.Action == "hang"
		if c.stage == "" {
			c.stage = c.fault.Stage
		}
		if c.pooled == "" {
			c.pooled = c.fresh
		}
		cases = append(cases, c)
	}
	drop := func(s *sandbox.Sandbox) { s.DropConns(false) }
	if framing == "bdat" { // what comes before a body has no framing
		add(faultCase{
			stage: "connection refused", fresh: none,
			arm:       func(s *sandbox.Sandbox) { _ = s.SetListening(false) },
			pooledArm: func(s *sandbox.Sandbox) { _ = s.SetListening(false); s.DropConns(false) },
		})
		for _, f := range []sandbox.Fault{
			{Stage: "connect", Action: "refuse"},
			{Stage: "connect", Action: "hang"},
			replyFault("banner", reply421, 0),
			replyFault("banner", "554 5.7.1 No", 0),
			{Stage: "banner", Action: "close"},
			{Stage: "banner", Action: "reset"},
			{Stage: "banner", Action: "garbage"},
			{Stage: "banner", Action: "endless_multiline"},
			{Stage: "banner", Action: "long_line"},
			replyFault("ehlo", reply421, 0),
			{Stage: "ehlo", Action: "reset"},
			{Stage: "ehlo", Action: "garbage"},
			{Stage: "ehlo", Action: "endless_multiline"},
			{Stage: "ehlo", Action: "hang"},
			replyFault("starttls", "454 4.7.0 TLS not available", 0),
			{Stage: "starttls", Action: "close"},
			{Stage: "starttls", Action: "garbage"},
			{Stage: "tls", Action: "close"},
			{Stage: "tls", Action: "reset"},
			{Stage: "tls", Action: "garbage"},
			{Stage: "tls", Action: "hang"},
			{Stage: "tls", Action: "wrong_certificate"},
			replyFault("auth", reply334, 0),
			replyFault("auth", reply535, 0),
			replyFault("auth", reply432, 0),
			replyFault("auth", reply454, 0),
			replyFault("auth", reply421, 0),
			{Stage: "auth", Action: "reset"},
			{Stage: "auth", Action: "garbage"},
			{Stage: "auth", Action: "endless_multiline"},
			{Stage: "auth", Action: "long_line"},
			{Stage: "auth", Action: "hang"},
		} {
			// A pooled connection is lost, and its replacement meets the fault.
			add(faultCase{fault: f, fresh: none, pooledArm: drop})
		}
		// 421, an end and a reset before MAIL.
		for _, f := range []sandbox.Fault{replyFault("ready", reply421, 0), {Stage: "ready", Action: "close"}, {Stage: "ready", Action: "reset"}} {
			f.Conn = "fresh"
			add(faultCase{fault: f, fresh: none, pooled: none, pooledArm: drop})
		}
		add(faultCase{stage: "idle 421", fresh: sent, pooled: sent, pooledArm: func(s *sandbox.Sandbox) { s.Farewell(reply421) }})
		add(faultCase{stage: "idle close", fresh: sent, pooled: sent, pooledArm: drop})
		add(faultCase{stage: "idle reset", fresh: sent, pooled: sent, pooledArm: func(s *sandbox.Sandbox) { s.DropConns(true) }})
		for _, stage := range []string{"mail", "rcpt"} {
			nth := 0
			if stage == "rcpt" {
				nth = 1
			}
			add(faultCase{fault: replyFault(stage, reply421, nth), fresh: none, pooled: either})
			for _, action := range []string{"close", "reset"} {
				c := faultCase{fault: sandbox.Fault{Stage: stage, Action: action, Nth: nth}, fresh: none, pooled: sent}
				if stage == "rcpt" {
					c.pooled = either // MAIL has had its answer
				}
				add(c)
			}
			for _, action := range []string{"garbage", "endless_multiline", "long_line", "hang"} {
				add(faultCase{fault: sandbox.Fault{Stage: stage, Action: action, Nth: nth}, fresh: none, pooled: either})
			}
		}
		add(faultCase{fault: replyFault("mail", "450 4.2.1 Later", 0), fresh: `^450 450 -$`})
		add(faultCase{fault: replyFault("mail", "550 5.7.1 No", 0), fresh: `^550 550 -$`})
		add(faultCase{fault: replyFault("rcpt", "450 4.2.1 Later", 1), fresh: `^450 250 250$`})
		add(faultCase{fault: replyFault("rcpt", "550 5.1.1 No", 1), fresh: `^550 250 250$`})
		add(faultCase{fault: replyFault("rcpt", "450 4.2.1 Later", 2), fresh: `^250 450 250$`})
		add(faultCase{fault: replyFault("rcpt", "550 5.1.1 No", 2), fresh: `^250 550 250$`})
		add(faultCase{fault: replyFault("rcpt", reply421, 2), fresh: lostRcpt})
		for _, action := range []string{"close", "reset", "garbage", "endless_multiline", "long_line", "hang"} {
			add(faultCase{fault: sandbox.Fault{Stage: "rcpt", Action: action, Nth: 2}, fresh: lostRcpt})
		}
	}
	stage := framing // of the command: data or bdat
	for _, large := range []bool{false, true} {
		add(faultCase{fault: replyFault(stage, reply421, 0), fresh: lostLate, large: large})
		add(faultCase{fault: replyFault(stage, "451 4.3.0 Later", 0), fresh: `^250 250 451$`, large: large})
		add(faultCase{fault: replyFault(stage, "554 5.7.1 No", 0), fresh: `^250 250 554$`, large: large})
		for _, action := range []string{"close", "reset", "garbage", "endless_multiline", "hang"} {
			add(faultCase{fault: sandbox.Fault{Stage: stage, Action: action}, fresh: lostLate, large: large})
		}
		// A reply that is good but for its 4 MiB may be taken for what it is.
		add(faultCase{fault: sandbox.Fault{Stage: stage, Action: "long_line"}, fresh: `^250 250 [24]\d\d$`, large: large})

		add(faultCase{fault: replyFault("end", reply421, 0), fresh: lostLate, large: large})
		add(faultCase{fault: replyFault("end", "451 4.3.0 Later", 0), fresh: `^250 250 451$`, large: large})
		add(faultCase{fault: replyFault("end", "554 5.7.1 No", 0), fresh: `^250 250 554$`, large: large})
		for _, action := range []string{"close", "reset", "garbage", "endless_multiline", "hang", "drop_after_accept"} {
			add(faultCase{fault: sandbox.Fault{Stage: "end", Action: action}, fresh: lostLate, large: large})
		}
		add(faultCase{fault: sandbox.Fault{Stage: "end", Action: "long_line"}, fresh: `^250 250 [24]\d\d$`, large: large})
	}
	for _, f := range []sandbox.Fault{
		replyFault("body", reply421, 0), {Stage: "body", Action: "close"}, {Stage: "body", Action: "reset"}, {Stage: "body", Action: "hang"},
	} {
		f.AfterBytes = largeBody / 2
		add(faultCase{fault: f, fresh: lostLate, large: true})
	}
	return cases
}

const largeBody = 700 << 10 // more than the gateway reads before it begins to send

// faultRun is one case on one kind of connection.
type faultRun struct {
	faultCase
	name    string
	framing string
	usePool bool
	user    string
	sb      *sandbox.Sandbox
	addr    string
}

func TestFaultMatrix(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	dir := t.TempDir()
	var runs []*faultRun
	var opts []option
	for _, framing := range []string{"bdat", "data"} {
		for _, c := range faultCases(framing) {
			for _, pooled := range []bool{false, true} {
				if !pooled && c.arm == nil && c.fault.Stage == "" {
					continue
				}
				r := &faultRun{faultCase: c, framing: framing, usePool: pooled, user: fmt.Sprintf("u%d@example.com", len(runs))}
				size, conn := "small", "fresh"
				if c.large {
					size = "large"
				}
				if pooled {
					conn = "pooled"
				}
				nth := ""
				if c.fault.Nth > 0 {
					nth = fmt.Sprintf(" %d", c.fault.Nth)
				}
				r.name = strings.Join([]string{c.stage + nth, c.fault.Action, c.fault.Reply, framing, size, conn}, "/")
				opts = append(opts, r.start(t, filepath.Join(dir, r.user+".pem")))
				runs = append(runs, r)
			}
		}
	}
	w := newWorld(t, opts...)
	t.Logf("%d cases", len(runs))
	failed := make([]error, len(runs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 24)
	for i, r := range runs {
		r.addr = w.addr
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			failed[i] = r.run()
		})
	}
	wg.Wait()
	w.close()
	for i, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			if failed[i] != nil {
				t.Error(failed[i])
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := r.sb.WaitNoConns(ctx); err != nil {
				t.Error("an upstream connection is left")
			}
			// 1 is configured; another may be one that the gateway has closed
			// and the provider has yet to notice.
			if peak := r.sb.Mailbox(r.user).ConnsPeak; peak > 2 {
				t.Errorf("%d connections at once", peak)
			}
			r.sb.Close()
		})
	}
	w.sandbox.Close()
	goleak.VerifyNone(t, leaks, // a lock of Caddy's file storage lingers for up to five seconds
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// start runs the case's provider and gives its part of the configuration.
func (r *faultRun) start(t *testing.T, ca string) option {
	t.Helper()
	sb, err := sandbox.Start(&sandbox.App{CAFile: ca}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	r.sb = sb
	timeout := "30s"
	if r.hang {
		timeout = "1500ms"
	}
	framing := "auto"
	if r.framing == "data" {
		framing = "data"
	}
	return func(w *world, _ *sandbox.App) {
		w.app("oauth_tokens")["providers"].(object)[r.user] = object{
			"kind": "generic", "client_id": "sandbox", "client_secret": "sandbox-secret", "token_url": sb.TokenURL(),
		}
		w.app("smtp_upstreams")["upstreams"].(object)[r.user] = object{
			"dial": sb.SMTPAddr(), "framing": framing, "max_conns_per_account": 1,
			"auth":         object{"mechanism": "xoauth2", "provider": r.user},
			"tls":          object{"mode": "starttls", "trust_pool": object{"provider": "file", "pem_files": []string{ca}}},
			"dial_timeout": timeout, "command_timeout": timeout, "data_timeout": timeout, "max_wait": "20s",
		}
		a := account(r.user, r.user)
		a["upstream"] = r.user
		source := w.app("smtp")["accounts"].([]any)[0].(object)
		source["accounts"] = append(source["accounts"].([]any), a)
	}
}

func (r *faultRun) body(tag string) []byte {
	b := "Subject: " + tag + " " + r.user + "\r\n\r\n.dot\r\n"
	if r.large {
		b += strings.Repeat("0123456789abcdef0123456789abcd\r\n", largeBody/32)
	}
	return []byte(b)
}

// held counts how often the provider holds a body.
func (r *faultRun) held(body []byte) int {
	n, sum := 0, digest(body)
	for _, m := range r.sb.Messages() {
		if m.SHA256 == sum {
			n++
		}
	}
	return n
}

// attempt sends a body and returns the outcome. An error is the client's own.
func (r *faultRun) attempt(body []byte) (string, error) {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	ask := func(s string) (answer, error) {
		if s != "" {
			if _, err := conn.Write([]byte(s)); err != nil {
				return answer{}, err
			}
		}
		rep, err := c.readReply()
		if err != nil {
			return answer{}, fmt.Errorf("after %.40q: %w", s, err)
		}
		for _, l := range rep.lines {
			if strings.IndexFunc(l, func(x rune) bool { return x < ' ' || x == 0x7f }) >= 0 {
				return answer{}, fmt.Errorf("control characters in the reply %q", l)
			}
		}
		return answer{rep.code, rep.String()}, nil
	}
	for _, s := range []string{"", "EHLO client.test\r\n", "AUTH PLAIN " + plain(r.user, testPassword) + "\r\n", "MAIL FROM:<" + r.user + ">\r\n"} {
		if rep, err := ask(s); err != nil || rep.code/100 != 2 {
			return "", fmt.Errorf("before RCPT: %v %w", rep.text, err)
		}
	}
	one, err := ask("RCPT TO:<one@example.net>\r\n")
	if err != nil {
		return "", err
	}
	two, err := ask("RCPT TO:<two@example.net>\r\n")
	if err != nil {
		return "", err
	}
	if one.code/100 != 2 && two.code/100 != 2 {
		return fmt.Sprintf("%d %d -", one.code, two.code), nil
	}
	var last answer
	if r.framing == "data" {
		if last, err = ask("DATA\r\n"); err == nil && last.code == 354 {
			last, err = ask(string(dotStuff(body)))
		}
	} else {
		last, err = ask(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d %d", one.code, two.code, last.code), nil
}

// answer is a reply's code and all of it.
type answer struct {
	code int
	text string
}

func (r *faultRun) run() error {
	if r.usePool {
		if out, err := r.attempt(r.body("before")); err != nil || out != "250 250 250" {
			return fmt.Errorf("warming up: %s %w", out, err)
		}
	}
	arm, want := r.arm, r.fresh
	if r.usePool {
		arm, want = r.pooledArm, r.pooled
	}
	if r.fault.Stage != "" {
		f := r.fault
		if r.usePool && arm == nil {
			f.Conn = "pooled"
		}
		if _, err := r.sb.AddFault(f); err != nil {
			return err
		}
	}
	if arm != nil {
		arm(r.sb)
	}
	body := r.body("broken")
	out, err := r.attempt(body)
	if err != nil {
		return err
	}
	if !regexp.MustCompile(want).MatchString(out) {
		return fmt.Errorf("got %s, want %s", out, want)
	}
	if fs := r.sb.Faults(); len(fs) > 0 && fs[0].Hits == 0 {
		return fmt.Errorf("the fault did not happen: %s", out)
	}

	// All is well again, and the pool is too.
	r.sb.ClearFaults()
	if err := r.sb.SetListening(true); err != nil {
		return err
	}
	deadline := time.Now().Add(time.Minute)
	for i := 0; ; i++ {
		next := r.body(fmt.Sprintf("after %d", i))
		again, err := r.attempt(next)
		if err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
		if n := r.held(next); again == "250 250 250" && n != 1 {
			return fmt.Errorf("afterwards: %s, and the provider holds %d", again, n)
		} else if n == 1 {
			break
		}
		if strings.Contains(again, "5") && !strings.HasPrefix(again, "4") || time.Now().After(deadline) {
			return fmt.Errorf("afterwards (attempt %d): %s", i, again)
		}
		time.Sleep(100 * time.Millisecond) // the pause after a refused dial
	}
	n := r.held(body)
	switch accepted := strings.HasSuffix(out, " 250"); {
	case accepted && n != 1:
		return fmt.Errorf("%s, and the provider holds %d", out, n)
	case !accepted && n > 0 && r.fault.Action != "drop_after_accept" && r.fault.Action != "long_line" && r.fault.Action != "endless_multiline":
		return fmt.Errorf("%s, and the provider holds %d", out, n)
	case n > 1:
		return fmt.Errorf("the provider holds %d", n)
	}
	return nil
}
