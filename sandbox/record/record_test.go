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

package record

import (
	"fmt"
	"testing"
)

func TestResize(t *testing.T) {
	r := New(4, nil)
	add := func(n int) {
		for range n {
			r.Add(&Message{Body: []byte("x")}, nil)
		}
	}
	ids := func() (out []uint64) {
		for _, m := range r.Messages(0, 100) {
			out = append(out, m.ID)
		}
		return
	}
	want := func(s string) {
		t.Helper()
		if got := fmt.Sprint(ids()); got != s {
			t.Errorf("got %s, want %s", got, s)
		}
	}
	add(6)
	want("[3 4 5 6]")
	r.Resize(8)
	want("[3 4 5 6]")
	add(4)
	want("[3 4 5 6 7 8 9 10]")
	r.Resize(3)
	want("[8 9 10]")
	add(1)
	want("[9 10 11]")
	if r.bodyBytes != 3 {
		t.Errorf("%d bytes of bodies", r.bodyBytes)
	}
	r.Clear()
	want("[]")
	add(2)
	want("[12 13]")
}
