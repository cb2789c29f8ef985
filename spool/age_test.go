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
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// TestHostWasOff holds that the time for which the host was off is no age of the mail: it
// is tried as long as if nothing had been. Where only the host's clock says how old mail
// is, as with files of earlier versions, it is tried before it is given up, and not only
// in the first second, when the network may not be there yet.
func TestHostWasOff(t *testing.T) {
	for name, tc := range map[string]struct {
		away time.Duration // the provider, after the start
		dull bool          // the spool has no clock
		lost bool
	}{
		"at once":                       {},
		"a little later":                {away: 10 * time.Minute},
		"hours later":                   {away: 10 * time.Hour},
		"never":                         {away: 30 * time.Hour, lost: true},
		"at once, without clock":        {dull: true},
		"a little later, without clock": {away: 10 * time.Minute, dull: true},
		"never, without clock":          {away: 10 * time.Hour, dull: true, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys, p := newMemFS(), newProvider()
				fsys.dull = tc.dull
				p.down = true
				on := func(tr *Transport) { tr.AlwaysKeep = false }
				tr := start(t, fsys, p, on)
				if _, err := send(tr, "a", "text"); err != nil {
					t.Fatal(err)
				}
				stop(tr)
				time.Sleep(3 * 24 * time.Hour)
				p.set(tc.away > 0)
				tr = start(t, fsys, p, on)
				defer stop(tr)
				time.Sleep(tc.away)
				p.set(false)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				sent, gaveUp := p.count("text"), tr.engine.status().Results["given_up"]
				if sent == 1 == tc.lost || gaveUp == 1 != tc.lost {
					t.Errorf("sent %d times, given up %d times", sent, gaveUp)
				}
			})
		})
	}
}

// TestAccountsComeLater holds that mail of a host that was off is not given up
// because the accounts are not there yet.
func TestAccountsComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		on := func(tr *Transport) { tr.AlwaysKeep = false }
		tr := start(t, fsys, p, on)
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		stop(tr)
		time.Sleep(3 * 24 * time.Hour)
		p.set(false)
		tr = start(t, fsys, p, func(tr *Transport) {
			on(tr)
			tr.UseAccounts(func(string) (*accounts.Account, bool) { return nil, false })
		})
		defer stop(tr)
		tr.UseAccounts(func(string) (*accounts.Account, bool) { return nil, false })
		time.Sleep(5 * time.Minute)
		tr.UseAccounts(func(name string) (*accounts.Account, bool) {
			return &accounts.Account{Record: accounts.Record{Name: name}}, true
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.count("text") != 1 {
			t.Errorf("not sent: %v", tr.engine.status().Results)
		}
	})
}

// TestLastAttempt holds that the last attempt is made at the time at which the
// message is given up, and none after it.
func TestLastAttempt(t *testing.T) {
	for name, up := range map[string]time.Duration{"in time": -time.Second, "too late": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := newMemFS()
				p := &busyProvider{provider: newProvider(), reply: relay.ReplyUpstreamDown, until: time.Now().Add(24*time.Hour + up)}
				tr := start(t, fsys, p.provider, func(tr *Transport) { tr.AlwaysKeep, tr.next = false, p })
				defer stop(tr)
				if _, err := send(tr, "a", "text"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(24*time.Hour + time.Millisecond)
				synctest.Wait()
				res := tr.engine.status().Results
				if late := up > 0; p.count("text") == 1 == late || res["given_up"] == 1 != late {
					t.Errorf("arrived %d times, results %v", p.count("text"), res)
				}
			})
		})
	}
}

// TestAskedTooLong holds that a provider that wants to be left alone for longer
// than a message may wait is left alone, and the message given up in time.
func TestAskedTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := *relay.ReplyUpstreamDown
		asked.After = 48 * time.Hour
		p := &busyProvider{provider: newProvider(), reply: &asked, until: time.Now().Add(asked.After)}
		tr := start(t, newMemFS(), p.provider, func(tr *Transport) { tr.AlwaysKeep, tr.next = false, p })
		defer stop(tr)
		began := time.Now()
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		for tr.engine.status().Results["given_up"] == 0 && time.Since(began) < 3*24*time.Hour {
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if took := time.Since(began); took < 24*time.Hour || took > 24*time.Hour+time.Minute {
			t.Errorf("given up after %v", took)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if n := p.tries.Load(); n != 2 { // the other is of the report
			t.Errorf("the provider was asked %d times", n)
		}
	})
}

// TestLaneWaits holds that an account's trouble lets no message of it wait past
// the time at which it is given up.
func TestLaneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.down = true
		tr := start(t, newMemFS(), p, func(tr *Transport) { tr.AlwaysKeep, tr.GiveUpAfter = false, caddy.Duration(2*time.Hour) })
		defer stop(tr)
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		tr.engine.mu.Lock()
		tr.engine.lanes["a"].until = time.Now().Add(5 * time.Hour)
		tr.engine.mu.Unlock()
		time.Sleep(2*time.Hour + time.Second)
		synctest.Wait()
		if res := tr.engine.status().Results; res["given_up"] != 1 {
			t.Errorf("results %v", res)
		}
	})
}

// TestClockSetBack holds that a message that was kept while the clock was a year
// ahead is tried within the usual pauses once the clock is right, and keeps its
// age.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		on := func(tr *Transport) { tr.AlwaysKeep = false }
		tr := start(t, fsys, p, on)
		reply, err := send(tr, "a", "text")
		if err != nil {
			t.Fatal(err)
		}
		stop(tr)
		year := time.Now().Add(365 * 24 * time.Hour)
		rec, err := tr.engine.store.OpenJournal(idOf(reply))
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Append(resultAt(year, year.Add(time.Hour), year.Add(2*time.Hour))); err != nil {
			t.Fatal(err)
		}
		p.set(false)
		tr = start(t, fsys, p, on)
		defer stop(tr)
		time.Sleep(119 * time.Minute)
		synctest.Wait()
		if p.count("text") != 0 {
			t.Error("sent before the time that the provider asked for")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.count("text") != 1 {
			t.Errorf("not sent in two hours: %+v", Messages("", ""))
		}
	})
}
