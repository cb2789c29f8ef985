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
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestDay is a provider that is away for almost a day: everything arrives, each
// account's mail in its order, and nobody was asked more often than the plan
// says. The time is synctest's.
func TestDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		tr := start(t, fsys, p, func(tr *Transport) { tr.AlwaysKeep = false })
		const accounts, each = 20, 10
		for i := range each {
			for a := range accounts {
				if _, err := send(tr, fmt.Sprint("account", a), fmt.Sprintf("account%d %d", a, i)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(22 * time.Hour)
		synctest.Wait()
		list := Messages("", "")
		if len(list) != accounts*each {
			t.Fatalf("%d messages after the day", len(list))
		}
		for _, m := range list {
			if m.Attempts > 30 {
				t.Errorf("%s was tried %d times in a day", m.ID, m.Attempts)
			}
		}
		p.set(false)
		time.Sleep(75 * time.Minute) // the longest pause with its spread
		synctest.Wait()
		if left := Messages("", ""); len(left) > 0 {
			t.Errorf("%d messages are left, such as %+v", len(left), left[0])
		}
		for a := range accounts {
			var got, want []string
			for i := range each {
				want = append(want, fmt.Sprintf("account%d %d", a, i))
			}
			for _, text := range p.order {
				if slices.Contains(want, text) {
					got = append(got, text)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("account%d's mail came as %q", a, got)
			}
		}
		if res := tr.engine.status().Results; res["given_up"] != 0 || res["sent"] != accounts*each {
			t.Errorf("results %v", res)
		}
		stop(tr)
	})
}

// TestSchedule holds the pauses between attempts: the first is the one while the
// client waits.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		tr := start(t, fsys, p, func(tr *Transport) {
			tr.AlwaysKeep, tr.GiveUpAfter = false, caddy.Duration(6*time.Hour)
		})
		began := time.Now()
		if _, err := send(tr, "a", "text"); err != nil {
			t.Fatal(err)
		}
		last, at := began, 0
		for _, want := range []time.Duration{1, 2, 5, 10, 30, 60, 60} {
			want *= time.Minute
			for {
				time.Sleep(time.Second)
				synctest.Wait()
				if n := Messages("", "")[0].Attempts; n > at {
					at = n
					break
				}
			}
			if took := time.Since(last); took < want*9/10 || took > want*11/10+2*time.Second {
				t.Errorf("attempt %d came after %v, want %v", at, took, want)
			}
			last = time.Now()
		}
		stop(tr)
	})
}
