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

package accounts

import (
	"slices"
	"testing"
)

// TestIndexUpstreams holds that the names follow every change.
func TestIndexUpstreams(t *testing.T) {
	var x Index
	account := func(name, upstream string) *Account {
		return mustCompile(t, Record{Name: name, Upstream: upstream})
	}
	want := func(names ...string) {
		t.Helper()
		got := x.Upstreams()
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("got %q, want %q", got, names)
		}
	}
	want()
	x.Set(account("a@example.com", "one"))
	x.Set(account("b@example.com", "one"))
	want("one")
	x.Set(account("b@example.com", "two"))
	want("one", "two")
	x.Delete("a@example.com")
	x.Delete("a@example.com")
	want("two")
	x.Replace([]*Account{account("c@example.com", "three"), account("c@example.com", "hidden"), account("d@example.com", "three")})
	want("three")
	x.Delete("c@example.com")
	want("three")
	x.Delete("d@example.com")
	want()
}
