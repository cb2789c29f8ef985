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

//go:build unix

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymail/mailgateway/internal/testpg"
	"github.com/caddymail/mailgateway/sandbox"
)

// allowance is what the provider gives a mailbox.
type allowance struct {
	conns, rate int
	per         time.Duration
	day         int
}

// campaign is how large a run of TestNodesUnderFaults is, and how long.
type campaign struct {
	lease, grace time.Duration
	stopped      time.Duration // for how long a node is: less than lease and grace
	most         time.Duration // that another fault lasts
	faults       int
	steady       allowance // of most mailboxes; their rate is what they meet
	hasty        allowance // of the others, which meet their quota
	steadies     int
	hasties      int
	breath       time.Duration // of a client that was refused, on average
	clocks       [3]string     // of the nodes, see skewedBuild
}

var shortCampaign = campaign{
	lease: 5 * time.Second, grace: 8 * time.Second, stopped: 7 * time.Second, most: 5 * time.Second, faults: 6,
	steady: allowance{3, 6, 10 * time.Second, 300}, hasty: allowance{3, 300, 10 * time.Second, 40},
	steadies: 6, hasties: 2, breath: 200 * time.Millisecond,
}

var longCampaign = campaign{
	lease: 30 * time.Second, grace: 90 * time.Second, stopped: 90 * time.Second, most: 75 * time.Second, faults: 8,
	steady: allowance{3, 30, time.Minute, 300}, hasty: allowance{3, 300, time.Minute, 300},
	steadies: 150, hasties: 50, breath: 4 * time.Second,
	// The third one's is set right amid the run.
	clocks: [3]string{"", "3600", "-3600,180,0"},
}

// campaigns returns how many runs there are, of which kind: one that is short, or
// as many long ones as MAILGATEWAY_NODES says.
func campaigns(t *testing.T) (int, campaign) {
	t.Helper()
	s := os.Getenv("MAILGATEWAY_NODES")
	if s == "" {
		return 1, shortCampaign
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("MAILGATEWAY_NODES: %v", err)
	}
	return n, longCampaign
}

// fleet is three nodes, each with cables of its own to two databases.
type fleet struct {
	*world
	campaign
	pg     *testpg.Pair
	cables [3][2]*cable // of each node, to the primary and the standby
	nodes  [3]atomic.Pointer[node]
	probes int // that were sent
	tally  tally
	rnd    *rand.Rand // the schedule's
}

// probeBoxes is the number of mailboxes of which each sends one message, to see
// that a node sends.
const probeBoxes = 60

func newFleet(t *testing.T, c campaign, seed uint64) *fleet {
	t.Helper()
	f := &fleet{campaign: c, pg: testpg.StartPair(t), rnd: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // a schedule has to be repeatable
	f.tally.outcomes = make(map[string]string)
	opts := []option{
		withSandbox(func(sb *sandbox.App) { sb.KeepBodies, sb.KeepMessages = false, 1_000_000 }),
		func(w *world, sb *sandbox.App) {
			ups := w.app("smtp_upstreams")["upstreams"].(object)
			for name, a := range map[string]allowance{"sandbox": c.steady, "hasty": c.hasty} {
				up := make(object)
				for k, v := range w.upstream() {
					up[k] = v
				}
				up["max_conns_per_account"] = a.conns
				up["rate_per_account"] = fmt.Sprintf("%d/%s", a.rate, a.per)
				up["messages_per_account"] = fmt.Sprintf("%d/24h", a.day)
				up["max_wait"] = "1s"
				ups[name] = up
			}
		},
	}
	for i := range c.steadies {
		opts = append(opts, withAccount(account(steadyBox(i), steadyBox(i))))
	}
	for i := range c.hasties {
		a := account(hastyBox(i), hastyBox(i))
		a["upstream"] = "hasty"
		opts = append(opts, withAccount(a))
	}
	for i := range probeBoxes {
		opts = append(opts, withAccount(account(probeBox(i), probeBox(i))))
	}
	f.world = newProcessWorld(t, opts...)
	hasty := f.app("smtp_upstreams")["upstreams"].(object)["hasty"].(object)
	hasty["dial"] = f.sandbox.SMTPAddr()
	if c.clocks != [3]string{} {
		f.build = skewedBuild
	}
	for i := range f.nodes {
		f.cables[i] = [2]*cable{newCable(t, f.pg.Primary.Addr()), newCable(t, f.pg.Standby.Addr())}
		f.start(i)
	}
	return f
}

func steadyBox(i int) string { return fmt.Sprintf("steady%d@example.com", i) }
func hastyBox(i int) string  { return fmt.Sprintf("hasty%d@example.com", i) }
func probeBox(i int) string  { return fmt.Sprintf("probe%d@example.com", i) }

// start runs a node, at another address than before.
func (f *fleet) start(i int) {
	f.t.Helper()
	n := &node{world: f.world, addr: freeAddr(f.t), admin: freeAddr(f.t)}
	dsn := "postgres://gateway@" + f.cables[i][0].addr() + "," + f.cables[i][1].addr() + "/postgres?sslmode=disable&target_session_attrs=read-write"
	f.config["admin"] = object{"listen": n.admin, "config": object{"persist": false}}
	f.config["storage"] = object{"module": "postgres", "dsn": dsn, "max_conns": 4}
	f.app("smtp_upstreams")["limits"] = object{
		"kind": "postgres", "dsn": dsn, "max_conns": 4, "node": fmt.Sprintf("node%d", i),
		"lease": f.lease.String(), "grace": f.grace.String(),
	}
	f.addr = n.addr
	f.server()["listen"] = []string{n.addr}
	n.process = f.run("MAILGATEWAY_TEST_CLOCK=" + f.clocks[i])
	f.nodes[i].Store(n)
}

// outcomes of a message that are no refusal.
const (
	acknowledged = "acknowledged"
	unheard      = "no answer"
)

// tally is what became of messages, as the clients were told.
type tally struct {
	last     atomic.Uint64
	mu       sync.Mutex
	outcomes map[string]string // by recipient: what the client heard
	failed   []error
}

func (ta *tally) note(rcpt, outcome string) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	ta.outcomes[rcpt] = outcome
}

func (ta *tally) fail(err error) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	ta.failed = append(ta.failed, err)
}

// send sends one message, to a recipient of its own, and notes what is heard. A
// refusal is a *textproto.Error.
func (ta *tally) send(c *textproto.Conn, from string) error {
	rcpt := fmt.Sprintf("m%d@example.net", ta.last.Add(1))
	for _, step := range []struct {
		code int
		cmd  string
	}{
		{250, "MAIL FROM:<" + from + ">"},
		{250, "RCPT TO:<" + rcpt + ">"},
		{354, "DATA"},
		{250, "Subject: x\r\n\r\nhello\r\n."},
	} {
		err := tryCommand(c, step.code, step.cmd)
		if err == nil {
			continue
		}
		outcome := unheard
		if refused, ok := errors.AsType[*textproto.Error](err); ok {
			outcome = refused.Error()
			if refused.Code/100 != 4 {
				ta.fail(fmt.Errorf("%s of %s: %w", step.cmd, from, err))
			}
		}
		ta.note(rcpt, outcome)
		return err
	}
	ta.note(rcpt, acknowledged)
	return nil
}

// login connects to a node as a mailbox. Nothing depends on how long the client
// waits, but that it does not wait for ever.
func (f *fleet) login(n *node, mailbox string) (*textproto.Conn, error) {
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(4 * (f.lease + f.grace)))
	c := textproto.NewConn(conn)
	if _, _, err = c.ReadResponse(220); err == nil {
		if err = tryCommand(c, 250, "EHLO client.test"); err == nil {
			err = tryCommand(c, 235, "AUTH PLAIN "+plain(mailbox, testPassword))
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// client sends for a mailbox by a node, then by another one, until it is
// stopped.
func (f *fleet) client(mailbox string, rnd *rand.Rand, stop *atomic.Bool) {
	rest := func() { time.Sleep(f.breath/2 + rand.N(f.breath)) } //nolint:gosec // a load
	for !stop.Load() {
		c, err := f.login(f.nodes[rnd.IntN(3)].Load(), mailbox)
		if err != nil {
			if refused, ok := errors.AsType[*textproto.Error](err); ok && refused.Code/100 != 4 {
				f.tally.fail(fmt.Errorf("login of %s: %w", mailbox, err))
			}
			rest()
			continue
		}
		for tries := 1 + rnd.IntN(8); tries > 0 && !stop.Load(); tries-- {
			err := f.tally.send(c, mailbox)
			if err == nil {
				continue
			}
			refused, ok := errors.AsType[*textproto.Error](err)
			rest()
			if !ok || refused.Code == 421 || tryCommand(c, 250, "RSET") != nil {
				break
			}
		}
		c.Close()
	}
}

// load has four clients a mailbox send until the returned function is called.
func (f *fleet) load() (end func()) {
	var (
		wg    sync.WaitGroup
		stop  atomic.Bool
		boxes []string
	)
	for i := range f.steadies {
		boxes = append(boxes, steadyBox(i))
	}
	for i := range f.hasties {
		boxes = append(boxes, hastyBox(i))
	}
	for _, box := range boxes {
		for range 4 {
			rnd := rand.New(rand.NewPCG(f.rnd.Uint64(), 0)) //nolint:gosec // a load
			wg.Go(func() { f.client(box, rnd, &stop) })
		}
	}
	return sync.OnceFunc(func() {
		stop.Store(true)
		wg.Wait()
	})
}

// probe waits until a mailbox that has not sent yet sends by a node. It returns
// how long that took.
func (f *fleet) probe(i int, when string) time.Duration {
	f.t.Helper()
	mailbox := probeBox(f.probes)
	f.probes++
	began := time.Now()
	for {
		c, err := f.login(f.nodes[i].Load(), mailbox)
		if err == nil {
			err = f.tally.send(c, mailbox)
			c.Close()
		}
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > 2*time.Minute {
			f.t.Fatalf("node %d does not send %s: %v\n%s", i, when, err, f.nodes[i].Load().out.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var digits = regexp.MustCompile(`[0-9]+ s`)

// check compares what the provider has with what clients were told, and with
// what it gives each mailbox.
func (f *fleet) check() {
	f.t.Helper()
	times := make(map[string]int)
	boxes := make(map[string][]time.Time)
	for _, m := range f.sandbox.Messages() {
		times[m.Rcpts[0]]++
		boxes[m.Mailbox] = append(boxes[m.Mailbox], m.Time)
	}
	said, despite := make(map[string]int), make(map[string]int)
	for rcpt, outcome := range f.tally.outcomes {
		kind := digits.ReplaceAllString(outcome, "N s")
		said[kind]++
		switch n := times[rcpt]; {
		case n > 1:
			f.t.Errorf("%s is at the provider %d times, the client heard %q", rcpt, n, outcome)
		case n == 0 && outcome == acknowledged:
			f.t.Errorf("%s was acknowledged, and is not at the provider", rcpt)
		case n == 1 && outcome != acknowledged:
			despite[kind]++
			if outcome != unheard && !strings.Contains(outcome, "delivery unknown") {
				f.t.Errorf("%s is at the provider, the client heard %q", rcpt, outcome)
			}
		}
	}
	for _, err := range f.tally.failed {
		f.t.Error(err)
	}
	var peak, window, day [2]int
	for mailbox, stamps := range boxes {
		a, kind := f.steady, 0
		if strings.HasPrefix(mailbox, "hasty") {
			a, kind = f.hasty, 1
		}
		slices.SortFunc(stamps, time.Time.Compare)
		most, from := 0, 0
		for i, at := range stamps {
			for at.Sub(stamps[from]) >= a.per {
				from++
			}
			most = max(most, i-from+1)
		}
		conns := f.sandbox.Mailbox(mailbox).ConnsPeak
		if conns > a.conns || most > a.rate || len(stamps) > a.day {
			f.t.Errorf("%s: %d connections at a time, %d messages within %s, %d in all: it has %+v", mailbox, conns, most, a.per, len(stamps), a)
		}
		peak[kind], window[kind], day[kind] = max(peak[kind], conns), max(window[kind], most), max(day[kind], len(stamps))
	}
	f.t.Logf("at most (steady, hasty): connections %d, in a window %d, in all %d; %d messages", peak, window, day, len(times))
	for kind, n := range said {
		f.t.Logf("%6d times %s (%d of them at the provider)", n, kind, max(despite[kind], map[bool]int{true: n}[kind == acknowledged]))
	}
	if window[0] < f.steady.rate && day[1] < f.hasty.day {
		f.t.Errorf("the load has met neither limit, so the run shows nothing: %d, %d, %d", peak, window, day)
	}
}
