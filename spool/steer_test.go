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
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/spool/internal/disk"
)

// steerings are what the API, the console and the command call.
var steerings = map[string]func(id string) error{"hold": Hold, "release": Release, "retry": Release, "delete": Delete}

// TestSteeredWhileSent holds that a message that is being sent, or handed over, is not
// changed, that the call says so, and that what it wants can be had afterwards, in so far
// as the provider's answer has left something to want.
func TestSteeredWhileSent(t *testing.T) {
	for what, steer := range steerings {
		for _, handOver := range []bool{false, true} {
			for name, answer := range map[string]*relay.Reply{"taken": nil, "later": relay.ReplyUpstreamDown, "never": noSuchUser} {
				t.Run(fmt.Sprintf("%s, %s, %v", what, name, handOver), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						p, peer := newProvider(), newProvider()
						p.down = true
						tr := start(t, newMemFS(), p, func(tr *Transport) { tr.AlwaysKeep, tr.Peer, tr.peer = false, "standby", peer })
						defer stop(tr)
						id := keepOne(t, tr, "a", "text")
						p.set(false)
						begun, on := make(chan struct{}), make(chan struct{})
						asked := false
						judge := func(text string) *relay.Reply {
							if text != "text" || asked {
								return nil // its report
							}
							asked = true
							close(begun)
							<-on
							return answer
						}
						to := p
						if handOver {
							to = peer
							peer.setJudge(judge)
							if err := Drain("", true); err != nil {
								t.Fatal(err)
							}
						} else {
							p.setJudge(judge)
							if err := Release(id); err != nil {
								t.Fatal(err)
							}
						}
						<-begun
						for range 2 {
							if err := steer(id); !errors.Is(err, ErrBusy) {
								t.Errorf("while it is sent: %v", err)
							}
						}
						if m, err := Get(id); err != nil || m.State != "sending" {
							t.Errorf("%+v, %v", m, err)
						}
						close(on)
						synctest.Wait()
						gone := name == "taken" || name == "never" && !handOver // a peer's refusal settles nothing
						if err := steer(id); errors.Is(err, ErrNotFound) != gone || err != nil && !gone {
							t.Fatalf("afterwards: %v", err)
						}
						time.Sleep(3 * time.Hour)
						synctest.Wait()
						want := 1
						if what == "delete" && !gone || name == "never" && gone {
							want = 0
						}
						if what == "hold" && !gone {
							if m, err := Get(id); err != nil || m.State != "held" || to.count("text") != 0 {
								t.Errorf("held: %+v, %v, sent %d times", m, err, to.count("text"))
							}
							want = 0
						}
						if n := to.count("text"); n != want {
							t.Errorf("it came %d times, want %d", n, want)
						}
					})
				})
			}
		}
	}
}

// TestSteeredAtOnce lets operators do everything to one message at the same time, while
// it is due: it is sent once, or deleted and not sent, as the calls' answers say.
func TestSteeredAtOnce(t *testing.T) {
	p := newProvider()
	p.down = true
	tr := start(t, disk.OS{}, p, func(tr *Transport) { aged(tr); tr.Directory = t.TempDir() })
	defer stop(tr)
	deleted := 0
	for round := range 60 {
		text := fmt.Sprint("text ", round)
		p.set(true)
		id := keepOne(t, tr, fmt.Sprint("account ", round), text)
		p.set(false)
		var mu sync.Mutex
		var wg sync.WaitGroup
		answers := make(map[string][]error)
		for _, what := range []string{"hold", "release", "retry", "delete", "hold", "retry", "delete", "release"} {
			pause := time.Duration(rand.IntN(300)) * time.Microsecond
			wg.Go(func() {
				time.Sleep(pause)
				err := steerings[what](id)
				mu.Lock()
				answers[what] = append(answers[what], err)
				mu.Unlock()
			})
		}
		wg.Wait()
		gone := 0
		for what, errs := range answers {
			for _, err := range errs {
				if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrNotFound) {
					t.Errorf("%s: %v", what, err)
				}
				if what == "delete" && err == nil {
					gone++
				}
			}
		}
		// It is let go, if it is there.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if err := Release(id); errors.Is(err, ErrNotFound) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("it does not go: %+v", Messages("", ""))
			}
		}
		if sent := p.count(text); gone > 1 || sent+gone != 1 {
			t.Errorf("round %d: sent %d times, and %d calls say that they deleted it: %v", round, sent, gone, answers)
		}
		deleted += gone
	}
	t.Logf("deleted %d, sent %d", deleted, 60-deleted)
}

// TestSteeredAndKilled kills the process at each operation with which a call is followed,
// on a disk that forgets: what was answered holds after that, and what was not may; the
// message is there, sent once, or deleted by the call.
func TestSteeredAndKilled(t *testing.T) {
	for what, steer := range steerings {
		for _, full := range []bool{false, true} {
			died := true
			for die := 1; died; die++ {
				died = steeredAndKilled(t, what, steer, die, full)
			}
		}
	}
}

// steeredAndKilled reports whether the process got as far as to the operation at which it
// is to die.
func steeredAndKilled(t *testing.T, what string, steer func(string) error, die int, full bool) (died bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fsys, p := newMemFS(), newProvider()
		p.down = true
		tr := start(t, fsys, p, aged)
		id := keepOne(t, tr, "a", "text")
		synctest.Wait() // it may be tried still
		if what == "release" {
			if err := Hold(id); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		n := 0
		fsys.mu.Lock()
		fsys.before = func(op string) error {
			if n++; n >= die {
				died = true
				return errCrash
			}
			if full && op == "write" {
				return errNoSpace
			}
			return nil
		}
		fsys.mu.Unlock()
		err := steer(id)
		if errors.Is(err, ErrBusy) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s, death %d: %v", what, die, err)
		}
		synctest.Wait()
		after := fsys.crash()
		stop(tr)
		tr = start(t, after, p, aged)
		defer stop(tr)
		m, gerr := Get(id)
		where := fmt.Sprintf("%s, full %v, death %d, answer %v, then %+v, %v", what, full, die, err, m, gerr)
		there := gerr == nil
		switch {
		case what == "delete" && err == nil && there, what != "delete" && !there:
			t.Error(where)
		case what == "hold" && err == nil && m.State != "held", what == "release" && err == nil && m.State == "held":
			t.Error(where)
		case !there:
		default:
			synctest.Wait() // it may be tried already
			p.set(false)
			if err := Release(id); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if sent := p.count("text"); sent > 1 || (sent == 1) != there {
			t.Errorf("%s: sent %d times", where, sent)
		}
	})
	return died
}

// TestHeldKeepsItsReason holds that an operator who holds what is held does not hide why
// it was, and that of two who delete a message one deletes it.
func TestHeldKeepsItsReason(t *testing.T) {
	p := newProvider()
	p.down = true
	tr := start(t, newMemFS(), p, aged)
	defer stop(tr)
	id := keepOne(t, tr, "a", "text")
	e := tr.engine
	e.mu.Lock()
	m := e.all[id]
	m.held = "because"
	e.arrange(m, time.Now())
	e.mu.Unlock()
	if err := Hold(id); err != nil {
		t.Fatal(err)
	}
	if m, _ := Get(id); m.Why != "because" {
		t.Errorf("held for %q", m.Why)
	}
	if err := Delete(id); err != nil {
		t.Fatal(err)
	}
	if err := Delete(id); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}
