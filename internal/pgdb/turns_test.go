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

package pgdb

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		var order []string
		took := make(chan string)
		wait := func(ctx context.Context, name string, first bool) {
			go func() {
				if err := turns.take(ctx, first); err != nil {
					name = err.Error()
				}
				took <- name
			}()
			synctest.Wait()
		}
		for range 2 {
			if err := turns.take(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		tired, cancel := context.WithCancel(t.Context())
		wait(t.Context(), "a", false)
		wait(tired, "b", false)
		wait(tired, "c", true)
		wait(t.Context(), "d", true)
		wait(t.Context(), "e", false)
		wait(t.Context(), "f", true)
		cancel()
		for range 2 {
			if got := <-took; got != context.Canceled.Error() {
				t.Fatalf("%s has a turn", got)
			}
		}
		for range 4 {
			turns.give()
			order = append(order, <-took)
		}
		if want := []string{"d", "f", "a", "e"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		// All turns are there again.
		turns.give()
		turns.give()
		for range 2 {
			if err := turns.take(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		gone, end := context.WithCancel(t.Context())
		end()
		if err := turns.take(gone, true); !errors.Is(err, context.Canceled) {
			t.Errorf("a third one of two: %v", err)
		}
	})
}
