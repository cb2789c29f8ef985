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

package front

import (
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sayings are what was put into the log.
type sayings struct {
	mu   sync.Mutex
	said []saying
}

type saying struct {
	Refusal
	n, unsaid int
}

func (s *sayings) say(r Refusal, n, unsaid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, saying{r, n, unsaid})
}

// take returns what was said since the last call.
func (s *sayings) take() []saying {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return said
}

var (
	printer = netip.MustParseAddr("192.0.2.17")
	other   = netip.MustParseAddr("192.0.2.18")
)

// TestRefusalsOnceAMinute says the first at once and the others together.
func TestRefusalsOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := NewRefusals(), new(sayings)
		add := func(a netip.Addr, cause string) {
			l.Add(Refusal{Server: "s", Cause: cause, ClientIP: a.String()}, a, false, false, s.say)
		}
		add(printer, "syntax")
		if said := s.take(); len(said) != 1 || said[0].n != 1 {
			t.Fatalf("the first: %+v", said)
		}
		for range 5 {
			add(printer, "syntax")
		}
		if said := s.take(); len(said) != 0 {
			t.Fatalf("within the minute: %+v", said)
		}
		// Another address and another cause are said by themselves.
		add(other, "syntax")
		add(printer, "tls_version")
		if said := s.take(); len(said) != 2 {
			t.Fatalf("others: %+v", said)
		}
		time.Sleep(sayEvery)
		said := s.take()
		if len(said) != 1 || said[0].n != 5 || said[0].Count != 6 || said[0].Cause != "syntax" {
			t.Fatalf("after the minute: %+v", said)
		}
		time.Sleep(3 * sayEvery)
		if said := s.take(); len(said) != 0 {
			t.Fatalf("with nothing new: %+v", said)
		}
		list := l.List()
		if len(list) != 3 || list[0].Cause != "tls_version" || list[2].Count != 6 || !list[2].Last.Equal(list[2].First) {
			t.Errorf("list %+v", list)
		}
	})
}

// TestRefusalsUrgent says what is urgent at once, with what was held back.
func TestRefusalsUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := NewRefusals(), new(sayings)
		r := Refusal{Server: "s", Cause: "wrong_password", Account: "a"}
		l.Add(r, printer, true, true, s.say)
		l.Add(r, printer, true, false, s.say)
		l.Add(r, printer, true, true, s.say)
		r.Account = "b"
		l.Add(r, printer, true, false, s.say)
		said := s.take()
		if len(said) != 3 || said[0].n != 1 || said[1].n != 2 || said[2].Account != "b" {
			t.Fatalf("%+v", said)
		}
		time.Sleep(2 * sayEvery)
		if said := s.take(); len(said) != 0 {
			t.Errorf("twice: %+v", said)
		}
	})
}

// TestRefusalsBounded keeps to its bounds under a flood, forgets nothing
// unsaid without a word, and lets no client that repeats itself push others out.
func TestRefusalsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := NewRefusals(), new(sayings)
		l.Add(Refusal{Server: "s", Cause: "syntax", ClientIP: other.String()}, other, false, false, s.say)
		for range 5000 {
			l.Add(Refusal{Server: "s", Cause: "syntax", ClientIP: printer.String()}, printer, false, false, s.say)
		}
		if list := l.List(); len(list) != 2 || list[0].Count != 5000 {
			t.Fatalf("%d remembered", len(list))
		}
		const flood = 5000
		for i := range flood {
			a := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
			l.Add(Refusal{Server: "s", Cause: "syntax", ClientIP: a.String(), Detail: strconv.Itoa(i)}, a, false, false, s.say)
		}
		if said := s.take(); len(said) != maxSaid {
			t.Fatalf("%d said at once, want %d", len(said), maxSaid)
		}
		if list := l.List(); len(list) != maxRefusals || list[0].Detail != strconv.Itoa(flood-1) {
			t.Fatalf("%d remembered, the latest %v", len(list), list[0].Detail)
		}
		told, lines := maxSaid, 0
		for range 10 {
			time.Sleep(sayEvery)
			said := s.take()
			if len(said) > maxSaid {
				t.Errorf("%d said in a minute", len(said))
			}
			for _, x := range said {
				told += x.n + x.unsaid
			}
			lines += len(said)
		}
		if want := 1 + 5000 + flood; told != want || lines != maxRefusals {
			t.Errorf("told of %d in %d more lines, want %d in %d", told, lines, want, maxRefusals)
		}
	})
}

// TestRefusalsNeighbours counts an IPv6 /64 as one client.
func TestRefusalsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := NewRefusals(), new(sayings)
		for _, a := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"} {
			l.Add(Refusal{Server: "s", Cause: "syntax", ClientIP: a}, netip.MustParseAddr(a), false, false, s.say)
		}
		if list := l.List(); len(list) != 2 || list[1].ClientIP != "2001:db8::2" || list[1].Count != 2 {
			t.Errorf("%+v", list)
		}
		time.Sleep(2 * sayEvery) // the timer is not left behind
	})
}
