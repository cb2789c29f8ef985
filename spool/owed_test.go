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

package spool

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

var noSuchUser = relay.NewReply(550, [3]int{5, 1, 1}, "No such user")

// strict is a provider that refuses everything but reports for good. Those it
// counts by the message that they are about.
type strict struct {
	*provider
	mu      sync.Mutex
	reports map[string]int
	busy    bool // reports are refused for now
	hold    chan struct{}
}

var reportOn = regexp.MustCompile(`Subject: Undelivered mail: message ([0-9a-f]{24})`)

func newStrict() *strict {
	s := &strict{provider: newProvider(), reports: make(map[string]int)}
	s.judge = func(text string) *relay.Reply {
		about := reportOn.FindStringSubmatch(text)
		if about == nil {
			return noSuchUser
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy {
			return relay.ReplyUpstreamDown
		}
		s.reports[about[1]]++
		return nil
	}
	return s
}

func (s *strict) of(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports[id]
}

func (s *strict) setBusy(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = busy
}

// idOf is what the client was told.
func idOf(reply relay.Reply) string { return strings.TrimPrefix(reply.Lines[0], "2.0.0 Queued as ") }

// dieAfter lets so many operations that write succeed; dead reports whether one
// more was tried.
func dieAfter(fsys *memFS, n int) (dead func() bool) {
	fsys.mu.Lock()
	defer fsys.mu.Unlock()
	fsys.before = func(string) error {
		if n--; n < 0 {
			return errCrash
		}
		return nil
	}
	return func() bool {
		fsys.mu.Lock()
		defer fsys.mu.Unlock()
		return n < 0
	}
}

// TestReportSurvives kills the process at every operation that writes while the
// provider refuses for good: each message that was answered with 250 is reported,
// whatever the process died between.
func TestReportSurvives(t *testing.T) {
	promised, twice := 0, 0
	for die := range 60 {
		fsys, p := newMemFS(), newStrict()
		dead := dieAfter(fsys, die)
		tr := start(t, fsys, p.provider, nil)
		var ids []string
		for i := range 2 {
			if reply, err := send(tr, fmt.Sprint("a", i), "Subject: x\r\n\r\ntext\r\n"); err == nil {
				ids = append(ids, idOf(reply))
			}
		}
		for deadline := time.Now().Add(20 * time.Second); !dead() && tr.engine.status().Messages > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the process neither died nor ended")
			}
		}
		stop(tr)
		tr = start(t, fsys.crash(), p.provider, nil)
		for _, m := range Messages("", "") {
			_ = Release(m.ID) // it may be gone already
		}
		await(t, tr)
		stop(tr)
		for _, id := range ids {
			promised++
			switch n := p.of(id); {
			case n == 0:
				t.Errorf("died at operation %d: %s was refused for good, and there is no report", die, id)
			case n == 2:
				twice++
			case n > 2:
				t.Errorf("died at operation %d: %d reports on %s", die, n, id)
			}
		}
	}
	t.Logf("%d messages, %d of them reported twice", promised, twice)
	if promised < 60 {
		t.Errorf("only %d messages were accepted: the test shows nothing", promised)
	}
}

// TestReportsHaveRoom holds that a full spool still says what it could not
// deliver, and that what has no room even so is said later.
func TestReportsHaveRoom(t *testing.T) {
	const text = "Subject: x\r\n\r\ntext\r\n"
	for name, options := range map[string]func(*Transport){
		"messages": func(tr *Transport) { tr.MaxMessages = 1 },
		"octets":   func(tr *Transport) { tr.MaxSize = int64(len(text)) },
		"disk":     func(tr *Transport) { tr.MinFree = 20 },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, p := newMemFS(), newStrict()
			p.down = true
			tr := start(t, fsys, p.provider, func(tr *Transport) { tr.AlwaysKeep = false; options(tr) })
			defer stop(tr)
			reply, err := send(tr, "a", text)
			if err != nil {
				t.Fatal(err)
			}
			fsys.mu.Lock()
			fsys.free = 10 // by now
			fsys.mu.Unlock()
			tr.engine.store.Configure(nil, tr.bounds())
			p.set(false)
			if err := Release(idOf(reply)); err != nil {
				t.Fatal(err)
			}
			await(t, tr)
			if n := p.of(idOf(reply)); n != 1 {
				t.Errorf("%d reports", n)
			}
		})
	}
	t.Run("bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fsys, p := newMemFS(), newStrict()
			p.busy = true
			tr := start(t, fsys, p.provider, func(tr *Transport) { tr.MaxMessages = 2 })
			defer stop(tr)
			var ids []string
			for i := range 4 {
				reply, err := send(tr, fmt.Sprint("a", i), text)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, idOf(reply))
				synctest.Wait()
			}
			// Two are reports by now, two keep their place until these have left.
			if _, err := send(tr, "b", text); err == nil {
				t.Error("a fifth message was kept: the reports have no bound")
			}
			p.setBusy(false)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			for _, id := range ids {
				if n := p.of(id); n != 1 {
					t.Errorf("%d reports on %s", n, id)
				}
			}
			if left := Messages("", ""); len(left) > 0 {
				t.Errorf("%d messages are left, such as %+v", len(left), left[0])
			}
		})
	})
}

// TestGiveUpOnFullDisk holds that giving up waits while a full disk keeps it from
// being noted, and that there is one report when it can.
func TestGiveUpOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newStrict()
		p.down = true
		tr := start(t, fsys, p.provider, func(tr *Transport) {
			tr.AlwaysKeep, tr.GiveUpAfter = false, caddy.Duration(time.Hour)
		})
		defer stop(tr)
		reply, err := send(tr, "a", "text")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		const tooMany = 1000
		writes := 0
		fsys.mu.Lock()
		fsys.before = func(op string) error {
			if op != "write" {
				return nil
			}
			if writes++; writes > tooMany {
				return nil // or this bubble's time never goes on
			}
			return errNoSpace
		}
		fsys.mu.Unlock()
		p.set(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		fsys.mu.Lock()
		fsys.before = nil
		n := writes
		fsys.mu.Unlock()
		if n > 300 {
			t.Errorf("%d writes in an hour in which the disk was full", n)
		}
		if got := p.of(idOf(reply)); got != 0 {
			t.Errorf("%d reports from a full disk", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got, left := p.of(idOf(reply)), Messages("", ""); got != 1 || len(left) > 0 {
			t.Errorf("with room again: %d reports, and %d messages are left", got, len(left))
		}
	})
}

// TestOwedOnFullDisk holds that a refusal that could be noted is reported when its
// report has room, also after a restart.
func TestOwedOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newStrict()
		tr := start(t, fsys, p.provider, nil)
		fsys.mu.Lock()
		creates := 0
		fsys.before = func(op string) error {
			if op == "create" {
				if creates++; creates > 1 {
					return errNoSpace
				}
			}
			return nil
		}
		fsys.mu.Unlock()
		reply, err := send(tr, "a", "text")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := Messages("", ""); len(left) != 1 || left[0].Recipients[0].State != "refused" {
			t.Fatalf("without room for its report: %+v", left)
		}
		stop(tr)
		tr = start(t, fsys.crash(), p.provider, nil)
		defer stop(tr)
		synctest.Wait()
		if got, left := p.of(idOf(reply)), Messages("", ""); got != 1 || len(left) > 0 {
			t.Errorf("after the restart: %d reports, and %d messages are left", got, len(left))
		}
	})
}

// TestOwedIsNoPoison holds that a report for which there is no room, start after start,
// is not taken for one that the process dies of.
func TestOwedIsNoPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newStrict()
		tr := start(t, fsys, p.provider, nil)
		creates := 0
		fsys.before = func(op string) error {
			if op == "create" {
				if creates++; creates > 1 {
					return errNoSpace
				}
			}
			return nil
		}
		reply, err := send(tr, "a", "text")
		if err != nil {
			t.Fatal(err)
		}
		for range poisonous + 1 {
			synctest.Wait()
			if left := Messages("", ""); len(left) != 1 || left[0].State != "waiting" {
				t.Fatalf("without room for its report: %+v", left)
			}
			stop(tr)
			tr = start(t, fsys, p.provider, nil)
		}
		defer stop(tr)
		synctest.Wait()
		fsys.mu.Lock()
		fsys.before = nil
		fsys.mu.Unlock()
		time.Sleep(reportPause)
		synctest.Wait()
		if got, left := p.of(idOf(reply)), Messages("", ""); got != 1 || len(left) > 0 {
			t.Errorf("with room: %d reports, and left: %+v", got, left)
		}
	})
}

// TestNeverByRecipient holds that a report names no recipient with NOTIFY=NEVER because
// another one has failed with it.
func TestNeverByRecipient(t *testing.T) {
	p := newProvider()
	p.judge = func(text string) *relay.Reply {
		if text == "text" {
			return noSuchUser
		}
		return nil
	}
	tr := start(t, newMemFS(), p, nil)
	defer stop(tr)
	tx, err := tr.Begin(t.Context(), &accounts.Account{Record: accounts.Record{Name: "a"}}, "from@example.com", &smtp.MailOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for to, notify := range map[string][]smtp.DSNNotify{
		"quiet@example.org": {smtp.DSNNotifyNever}, "glad@example.org": {smtp.DSNNotifySuccess, smtp.DSNNotifyDelayed},
		"plain@example.org": nil, "asks@example.org": {smtp.DSNNotifySuccess, smtp.DSNNotifyFailure},
	} {
		if err := tx.Rcpt(t.Context(), to, &smtp.RcptOptions{Notify: notify}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Data(t.Context(), strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	await(t, tr)
	if len(p.order) != 1 {
		t.Fatalf("sent: %q", p.order)
	}
	for to, named := range map[string]bool{"quiet@": false, "glad@": false, "plain@": true, "asks@": true} {
		if strings.Contains(p.order[0], to) != named {
			t.Errorf("%s is named: %t, want %t\n%s", to, !named, named, p.order[0])
		}
	}
}
