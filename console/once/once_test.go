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
	"fmt"
	"testing"
)

func TestBound(t *testing.T) {
	f := New()
	for i := range 2 * most {
		f.Begin(fmt.Sprint(i))
	}
	if len(f.done) > most {
		t.Errorf("%d forms are remembered", len(f.done))
	}
}

// TestReload has a reload between two clicks.
func TestReload(t *testing.T) {
	before := Of("https://mail.example.com/console")
	a, first := before.Begin("x")
	if !first {
		t.Fatal("sent before it was sent")
	}
	before.End("x", a, "/card", []string{"secret=1"})
	after := Of("https://mail.example.com/console")
	again, first := after.Begin("x")
	if where, cookies := after.Answer(again); first || where != "/card" || len(cookies) != 1 {
		t.Errorf("the second click: first %v, %s %v", first, where, cookies)
	}
	if _, first := Of("https://mail.example.com/other").Begin("x"); !first {
		t.Error("another site's form is the same")
	}
}
