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

package smtpclient

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadlines holds that a timeout comes when it was set to, however few
// times the socket's deadline was moved.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		c := New(near, &Config{DataTimeout: 5 * time.Minute})
		arm := func(d time.Duration) {
			t.Helper()
			if err := c.arm(d); err != nil {
				t.Fatal(err)
			}
		}
		timeout := func(f func([]byte) (int, error)) time.Duration {
			t.Helper()
			start := time.Now()
			if n, err := f(make([]byte, 1)); n != 0 || !timedOut(err) {
				t.Fatalf("%d, %v, want a timeout", n, err)
			}
			return time.Since(start)
		}
		p := (*patient)(c)

		arm(time.Minute)
		time.Sleep(10 * time.Second)
		before := c.deadlines.read
		arm(5 * time.Minute)
		if c.deadlines.read != before {
			t.Error("a read deadline that is far off was moved")
		}
		go func() {
			time.Sleep(2 * time.Minute)
			_, _ = io.WriteString(far, "x")
		}()
		if n, err := p.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("two minutes into five: %d, %v", n, err)
		}
		arm(time.Minute)
		if took := timeout(p.Read); took != time.Minute {
			t.Errorf("a read of 1m took %v", took)
		}
		arm(5 * time.Minute)
		time.Sleep(time.Second)
		arm(5 * time.Minute)
		if took := timeout(p.Read); took != 5*time.Minute {
			t.Errorf("a read of 5m took %v", took)
		}
		arm(time.Second)
		if took := timeout(p.Read); took != time.Second {
			t.Errorf("a read of 1s took %v", took)
		}

		// A write may be given more time, up to data_timeout, and an eighth less.
		arm(5 * time.Minute)
		arm(time.Minute)
		if took := timeout(near.Write); took > 5*time.Minute || took < time.Minute {
			t.Errorf("a write of 1m took %v", took)
		}
		arm(5 * time.Minute)
		time.Sleep(30 * time.Second)
		arm(5 * time.Minute)
		if took := timeout(near.Write); took > 5*time.Minute || took < 5*time.Minute*7/8 {
			t.Errorf("a write of 5m took %v", took)
		}
	})
}

// TestQuitIsShort holds that a goodbye takes no longer than it may, written to
// a peer that reads nothing or answers nothing.
func TestQuitIsShort(t *testing.T) {
	for _, reads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			c := New(near, &Config{DataTimeout: 5 * time.Minute})
			if err := c.arm(5 * time.Minute); err != nil {
				t.Fatal(err)
			}
			if reads {
				go func() { _, _ = io.Copy(io.Discard, far) }()
			}
			start := time.Now()
			c.Quit(2 * time.Second)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("peer reads %v: QUIT took %v", reads, took)
			}
		})
	}
}
