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

package breaker

import (
	"testing"
	"time"
)

const second = int64(time.Second)

func open(t *testing.T) *Breaker {
	t.Helper()
	b := New(Settings{After: 3, Min: time.Second, Max: 3 * time.Second})
	for i := range 3 {
		if _, ok, probe := b.Allow(0); !ok || probe {
			t.Fatalf("attempt %d: %v, probe %v; want it to be an ordinary one", i, ok, probe)
		}
		if opened := b.Done(0, Down, false); opened != (i == 2) {
			t.Fatalf("failure %d: opened %v", i, opened)
		}
	}
	return b
}

func TestOpens(t *testing.T) {
	b := open(t)
	if wait, ok, _ := b.Allow(second / 2); ok || wait != time.Second/2 {
		t.Errorf("while open: %v, wait %s; want half a second", ok, wait)
	}
	if s := b.State(second / 2); s != Open {
		t.Errorf("state %s", s)
	}
	if s := b.State(second); s != HalfOpen {
		t.Errorf("state %s", s)
	}
	_, ok, probe := b.Allow(second)
	if !ok || !probe {
		t.Fatalf("after the pause: %v, probe %v; want a probe", ok, probe)
	}
	if wait, ok, _ := b.Allow(second); ok || wait != 0 {
		t.Errorf("beside the probe: %v, wait %s", ok, wait)
	}
	if b.Done(second, Down, probe) {
		t.Error("it was open already")
	}
	if wait, _, _ := b.Allow(second); wait != 2*time.Second {
		t.Errorf("the second pause is %s, want 2 s", wait)
	}
	_, _, probe = b.Allow(3 * second)
	b.Done(3*second, Down, probe)
	if wait, _, _ := b.Allow(3 * second); wait != 3*time.Second {
		t.Errorf("the third pause is %s, want the most, 3 s", wait)
	}
	_, _, probe = b.Allow(6 * second)
	b.Done(6*second, Up, probe)
	if s := b.State(6 * second); s != Closed {
		t.Errorf("after a success: %s", s)
	}
}

func TestStragglers(t *testing.T) {
	b := open(t)
	b.Done(second/2, Down, false)
	if wait, _, _ := b.Allow(second / 2); wait != time.Second/2 {
		t.Errorf("an attempt that began before it opened made the pause %s", wait)
	}
}

func TestNeither(t *testing.T) {
	b := New(Settings{After: 2, Min: time.Second, Max: time.Second})
	b.Done(0, Down, false)
	b.Done(0, Neither, false)
	if b.State(0) != Closed {
		t.Error("what says nothing about the peer opened it")
	}
	if !b.Done(0, Down, false) {
		t.Error("what says nothing about the peer broke the row of failures")
	}
	_, _, probe := b.Allow(second)
	b.Done(second, Neither, probe)
	if _, ok, probe := b.Allow(second); !ok || !probe {
		t.Error("the next attempt cannot probe")
	}
}

// TestLast holds that a breaker says nothing of a peer that nobody has asked.
func TestLast(t *testing.T) {
	b := New(Settings{After: 3, Min: time.Second, Max: time.Second})
	if got := b.Last(); got != Neither {
		t.Errorf("before all: %v", got)
	}
	for _, tc := range []struct{ said, want Outcome }{{Neither, Neither}, {Down, Down}, {Neither, Down}, {Up, Up}, {Neither, Up}, {Down, Down}} {
		if b.Done(0, tc.said, false); b.Last() != tc.want {
			t.Errorf("behind %v: %v, want %v", tc.said, b.Last(), tc.want)
		}
	}
}
