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

package generation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// recorder notes what was put in force.
type recorder struct {
	Stack[string]
	log []string
}

func (r *recorder) attach(g string) {
	r.Attach(g, func(first bool) { r.log = append(r.log, fmt.Sprintf("+%s first=%v", g, first)) })
}

func (r *recorder) detach(g string) bool {
	return r.Detach(g, func(now string, last bool) { r.log = append(r.log, fmt.Sprintf("-%s now=%s last=%v", g, now, last)) })
}

func TestFailedStart(t *testing.T) {
	var r recorder
	r.attach("a")
	r.attach("b")
	if now, _ := r.Current(); now != "b" {
		t.Errorf("in force: %q, want b", now)
	}
	r.detach("b") // its start failed
	if now, _ := r.Current(); now != "a" {
		t.Errorf("in force: %q, want the one before, a", now)
	}
	r.detach("a")
	if now, ok := r.Current(); ok {
		t.Errorf("in force: %q, want none", now)
	}
	want := []string{"+a first=true", "+b first=false", "-b now=a last=false", "-a now= last=true"}
	if !slices.Equal(r.log, want) {
		t.Errorf("hooks %q, want %q", r.log, want)
	}
}

func TestReload(t *testing.T) {
	var r recorder
	r.attach("a")
	r.attach("b")
	if !r.detach("a") {
		t.Error("a was there")
	}
	if r.detach("a") {
		t.Error("a has left already")
	}
	if now, _ := r.Current(); now != "b" {
		t.Errorf("in force: %q, want b", now)
	}
	r.detach("b")
	want := []string{"+a first=true", "+b first=false", "-b now= last=true"}
	if !slices.Equal(r.log, want) {
		t.Errorf("hooks %q, want %q", r.log, want)
	}
}

// TestAnyOrder: whatever comes and goes in whatever order, the last that came
// and is still there is in force, and begin and end come in turn.
func TestAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's own order
	var s Stack[int]
	var model []int
	begun := false
	for i := range 10_000 {
		if len(model) == 0 || rng.IntN(2) == 0 {
			s.Attach(i, func(first bool) {
				if first == begun {
					t.Fatalf("step %d: first=%v while begun=%v", i, first, begun)
				}
				begun = true
			})
			model = append(model, i)
		} else {
			k := rng.IntN(len(model))
			g := model[k]
			model = slices.Delete(model, k, k+1)
			s.Detach(g, func(_ int, last bool) {
				if last != (len(model) == 0) {
					t.Fatalf("step %d: last=%v with %d left", i, last, len(model))
				}
				begun = !last
			})
		}
		now, ok := s.Current()
		if ok != (len(model) > 0) || ok && now != model[len(model)-1] {
			t.Fatalf("step %d: in force %d, %v; want the last of %v", i, now, ok, model)
		}
	}
}

// TestConcurrent is for the race detector: hooks never run side by side.
func TestConcurrent(t *testing.T) {
	var s Stack[int]
	users := 0 // guarded by the stack's lock
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				g := 1000*i + j
				s.Attach(g, func(bool) { users++ })
				s.Current()
				s.Detach(g, func(int, bool) { users++ })
			}
		})
	}
	wg.Wait()
	if _, ok := s.Current(); ok {
		t.Error("a generation is left")
	}
	if users < 8*200 {
		t.Errorf("%d hooks ran, want at least one each time something came", users)
	}
}
