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

package once

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestBound(t *testing.T) {
	g := New[int](10, time.Hour)
	for i := range 30 {
		if a, mine, err := g.Do(t.Context(), fmt.Sprint(i), func() (int, bool) { return i, true }); a != i || !mine || err != nil {
			t.Fatalf("%d: %d, %v, %v", i, a, mine, err)
		}
	}
	if len(g.done) > 10 {
		t.Errorf("%d answers are remembered", len(g.done))
	}
	old := New[int](10, 0)
	for i := range 30 {
		_, _, _ = old.Do(t.Context(), fmt.Sprint(i), func() (int, bool) { return i, true })
	}
	if a, mine, _ := old.Do(t.Context(), "29", func() (int, bool) { return -1, true }); mine || a != 29 {
		t.Errorf("the last one of many is forgotten: %d", a)
	}
}

// TestAgain has what fails, panics and is left, with others that wait for it.
func TestAgain(t *testing.T) {
	g := New[string](10, time.Hour)
	began, goOn := make(chan struct{}), make(chan struct{})
	go func() {
		defer func() { _ = recover() }()
		_, _, _ = g.Do(t.Context(), "x", func() (string, bool) {
			close(began)
			<-goOn
			panic("on purpose")
		})
	}()
	<-began
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, mine, err := g.Do(left, "x", nil); mine || !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v, %v", mine, err)
	}
	close(goOn)
	if a, mine, err := g.Do(t.Context(), "x", func() (string, bool) { return "failed", false }); a != "failed" || !mine || err != nil {
		t.Errorf("behind a panic: %q, %v, %v", a, mine, err)
	}
	if a, mine, _ := g.Do(t.Context(), "x", func() (string, bool) { return "done", true }); a != "done" || !mine {
		t.Errorf("behind a failure: %q, %v", a, mine)
	}
	g.Each(func(a *string) { *a += ", once" })
	if a, mine, _ := g.Do(t.Context(), "x", nil); a != "done, once" || mine {
		t.Errorf("behind the first: %q, %v", a, mine)
	}
}
