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

const largeBody = 700 << 10 // more than the gateway reads before it begins to send

// faultRun is one case on one kind of connection.
type faultRun struct {
	faultCase
	name     string
	framing  string
	usePool  bool
	burst    bool // the client sends all of it at once (RFC 2920)
	whole    bool // so does this one, with one recipient and BDAT (RFC 3030)
	deferred bool // by the server whose envelope is deferred: one recipient, one flight
	user     string
	sb       *sandbox.Sandbox
	addr     string
}

// runs are the kinds of connection, and of envelope, that the case applies to.
func (c faultCase) runs(framing string) []*faultRun {
	var out []*faultRun
	for _, envelope := range []string{"faithful", "burst", "whole", "deferred"} {
		for _, pooled := range []bool{false, true} {
			burst, whole, deferred := envelope == "burst", envelope == "whole", envelope == "deferred"
			switch {
			case !pooled && c.arm == nil && c.fault.Stage == "",
				deferred && (framing != "bdat" || c.large || c.fault.Nth > 1),
				burst && (c.large || c.noPipelining || c.fresh == none && c.fault.Stage != "mail" && c.fault.Stage != "rcpt"),
				(deferred || whole) && c.implicit,
				whole && (c.large || c.fault.Nth > 1):
				continue
			}
			r := &faultRun{faultCase: c, framing: framing, usePool: pooled, deferred: deferred, burst: burst, whole: whole}
			size, conn, nth := "small", "fresh", ""
			if c.large {
				size = "large"
			}
			if pooled {
				conn = "pooled"
			}
			if deferred {
				r.fresh, r.pooled = inOneFlight(c.fresh), inOneFlight(c.pooled)
				if c.fault.Stage == "mail" || c.fault.Stage == "rcpt" {
					// The body was in the same flight: whether a connection
					// that ended may be replaced is in doubt.
					r.pooled = strings.Replace(r.pooled, " 250$", ` (4\d\d|250)$`, 1)
				}
			}
			if whole {
				r.fresh, r.pooled = c.inWhole(c.fresh), c.inWhole(c.pooled)
			}
			if c.fault.Nth > 0 {
				nth = fmt.Sprintf(" %d", c.fault.Nth)
			}
			r.name = strings.Join([]string{c.stage + nth, c.fault.Action, c.fault.Reply, framing, size, conn, envelope}, "/")
			out = append(out, r)
		}
	}
	return out
}

// inWhole is an outcome as a client has it that sends a message with its only
// recipient: the provider's word to that, or the final reply. What was lost may
// have been in doubt with all of the message under way.
func (c faultCase) inWhole(want string) string {
	if want == either {
		return `^(4\d\d -|250 (4\d\d|250))$`
	}
	f := strings.Fields(strings.Trim(want, "^$"))
	early := c.fault.Stage == "mail" || c.fault.Stage == "rcpt"
	switch {
	// A connection that ends when it is ready may do so before the flight, or with
	// all of it under way: then the last word says that nothing was delivered.
	case f[0] != "250" && (early || c.fault.Stage == "ready") && f[0][0] == '4':
		return `^(` + f[0] + ` -|250 4\d\d)$`
	case f[0] != "250":
		return "^" + f[0] + " -$"
	case early && f[2] == "250":
		return `^250 (4\d\d|250)$`
	}
	return "^250 " + strings.Join(f[2:], " ") + "$"
}

// inOneFlight is an outcome as a deferred envelope has it: the first recipient
// is taken, the second is too many, and the final reply says all.
func inOneFlight(want string) string {
	if want == either {
		return `^250 452 (4\d\d|250)$`
	}
	f := strings.Fields(strings.Trim(want, "^$"))
	last := f[2]
	if f[0] != "250" {
		last = f[0]
	}
	return "^250 452 " + last + "$"
}

func TestFaultMatrix(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	dir := t.TempDir()
	var runs []*faultRun
	var opts []option
	for _, framing := range []string{"bdat", "data"} {
		for _, c := range faultCases(framing) {
			if c.large && testing.Short() {
				continue
			}
			for _, r := range c.runs(framing) {
				r.user = fmt.Sprintf("u%d@example.com", len(runs))
				opts = append(opts, r.start(t, filepath.Join(dir, r.user+".pem")))
				runs = append(runs, r)
			}
		}
	}
	deferredAddr := freeAddr(t)
	opts = append(opts, func(w *world, _ *sandbox.App) {
		w.app("smtp")["servers"].(object)["deferred"] = object{
			"listen": []string{deferredAddr}, "tls": object{"mode": "off"}, "envelope": "deferred",
		}
	})
	w := newWorld(t, opts...)
	t.Logf("%d cases", len(runs))
	failed := make([]error, len(runs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i, r := range runs {
		if r.addr = w.addr; r.deferred {
			r.addr = deferredAddr
		}
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
	sb, err := sandbox.Start(&sandbox.App{CAFile: ca, NoPipelining: r.noPipelining}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	r.sb = sb
	timeout := "30s"
	if r.hang {
		timeout = "4s" // on a busy machine it may end what does not hang, too: see patiently
	}
	framing := "auto"
	if r.framing == "data" {
		framing = "data"
	}
	dial, mode := sb.SMTPAddr(), "starttls"
	if r.implicit {
		dial, mode = sb.SMTPSAddr(), "implicit"
	}
	return func(w *world, _ *sandbox.App) {
		w.app("oauth_tokens")["providers"].(object)[r.user] = object{
			"kind": "generic", "client_id": "sandbox", "client_secret": "sandbox-secret", "token_url": sb.TokenURL(),
		}
		w.app("smtp_upstreams")["upstreams"].(object)[r.user] = object{
			"dial": dial, "framing": framing, "max_conns_per_account": 1,
			"auth":         object{"mechanism": "xoauth2", "provider": r.user},
			"tls":          object{"mode": mode, "trust_pool": object{"provider": "file", "pem_files": []string{ca}}},
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

func (r *faultRun) logins() uint64 {
	ms := r.sb.Mailbox(r.user)
	return ms.AuthOK + ms.AuthFailed + ms.Limited
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
	for _, s := range []string{"", "EHLO client.test\r\n", "AUTH PLAIN " + plain(r.user, testPassword) + "\r\n"} {
		if rep, err := ask(s); err != nil || rep.code/100 != 2 {
			return "", fmt.Errorf("before MAIL: %v %w", rep.text, err)
		}
	}
	flights := []string{"MAIL FROM:<" + r.user + ">\r\n", "RCPT TO:<one@example.net>\r\n", "RCPT TO:<two@example.net>\r\n", "DATA\r\n"}
	if r.framing == "bdat" || r.whole {
		flights[3] = fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body)
	}
	if r.whole {
		return r.wholly(ask, flights[0]+flights[1]+flights[3])
	}
	if r.burst {
		flights = []string{strings.Join(flights, ""), "", "", ""}
	}
	var got [4]answer
	for i, f := range flights {
		if i == 3 && !r.burst && got[1].code/100 != 2 && got[2].code/100 != 2 {
			break
		}
		if got[i], err = ask(f); err != nil {
			return "", err
		}
	}
	if got[0].code != 250 {
		return "", fmt.Errorf("MAIL: %v", got[0].text)
	}
	if got[1].code/100 != 2 && got[2].code/100 != 2 {
		if r.burst && got[3].code/100 < 4 {
			return "", fmt.Errorf("no recipient, and the message was answered %v", got[3].text)
		}
		return fmt.Sprintf("%d %d -", got[1].code, got[2].code), nil
	}
	if got[3].code == 354 {
		if got[3], err = ask(string(dotStuff(body))); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d %d %d", got[1].code, got[2].code, got[3].code), nil
}

// wholly sends a message with its recipient in one write.
func (r *faultRun) wholly(ask func(string) (answer, error), flight string) (string, error) {
	var got [3]answer
	for i := range got {
		var err error
		if got[i], err = ask(flight); err != nil {
			return "", err
		}
		flight = ""
	}
	switch mail, rcpt, final := got[0], got[1].code, got[2]; {
	case mail.code != 250:
		return "", fmt.Errorf("MAIL: %v", mail.text)
	case rcpt/100 == 2:
		return fmt.Sprintf("%d %d", rcpt, final.code), nil
	case final.code != 503:
		return "", fmt.Errorf("no recipient, and the message was answered %v", final.text)
	default:
		return fmt.Sprintf("%d -", rcpt), nil
	}
}

// answer is a reply's code and all of it.
type answer struct {
	code int
	text string
}

// patiently is attempt; where the gateway's timeouts are short, it is repeated
// while they strike before what they are there for.
func (r *faultRun) patiently(tag string, done func(string) bool) (out string, err error) {
	for range 20 {
		out, err = r.attempt(r.body(tag))
		if err != nil || !r.hang || done(out) || !temporary.MatchString(out) {
			break
		}
		time.Sleep(100 * time.Millisecond) // the pause after a failed dial
	}
	return out, err
}

var temporary = regexp.MustCompile(`4\d\d( -)?$`)

var permanent = regexp.MustCompile(`(^| )5`)

func delivered(outcome string) bool { return strings.HasSuffix(outcome, " 250") }

func (r *faultRun) run() error {
	if r.usePool {
		if out, err := r.patiently("before", func(out string) bool { return delivered(out) }); err != nil || !delivered(out) {
			return fmt.Errorf("warming up: %s %v", out, err)
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
	happened := func(string) bool {
		fs := r.sb.Faults()
		return len(fs) == 0 || fs[0].Hits > 0
	}
	logins := r.logins()
	body := r.body("broken")
	out, err := r.patiently("broken", happened)
	if err != nil {
		return err
	}
	if !regexp.MustCompile(want).MatchString(out) {
		return fmt.Errorf("got %s, want %s", out, want)
	}
	if !happened(out) {
		return fmt.Errorf("the fault did not happen: %s", out)
	}

	// A provider in trouble is not flooded with logins.
	if n := r.logins() - logins; n > 4 && !r.hang {
		return fmt.Errorf("%d logins for one message", n)
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
		if n := r.held(next); delivered(again) && n != 1 {
			return fmt.Errorf("afterwards: %s, and the provider holds %d", again, n)
		} else if n == 1 {
			break
		}
		if permanent.MatchString(again) || time.Now().After(deadline) {
			return fmt.Errorf("afterwards (attempt %d): %s", i, again)
		}
		time.Sleep(100 * time.Millisecond) // the pause after a refused dial
	}
	n := r.held(body)
	switch accepted := delivered(out); {
	case accepted && n != 1:
		return fmt.Errorf("%s, and the provider holds %d", out, n)
	case !accepted && n > 0 && r.fault.Action != "drop_after_accept" && r.fault.Action != "long_line" && r.fault.Action != "endless_multiline":
		return fmt.Errorf("%s, and the provider holds %d", out, n)
	case n > 1:
		return fmt.Errorf("the provider holds %d", n)
	}
	return nil
}
