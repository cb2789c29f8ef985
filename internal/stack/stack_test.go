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

package stack

import (
	"fmt"
	"testing"
)

// deep calls itself as deep as a message goes, and spends some of the stack in each.
//
//go:noinline
func deep(n int, room [64]byte) int {
	if n == 0 {
		return int(room[0])
	}
	return deep(n-1, room) + 1
}

// BenchmarkGrow is what a new goroutine pays for its stack, with and without room that
// was made at its beginning.
func BenchmarkGrow(b *testing.B) {
	for _, early := range []bool{false, true} {
		b.Run(fmt.Sprint("early=", early), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				done := make(chan int)
				go func() {
					if early {
						RoomForTLS()
					}
					done <- deep(70, [64]byte{})
				}()
				<-done
			}
		})
	}
}

// TestNoAllocation holds that the room is on the stack.
func TestNoAllocation(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Room(); RoomForTLS() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
