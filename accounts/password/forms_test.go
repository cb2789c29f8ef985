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

package password

import (
	"slices"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestForms holds that a password is right however its letters are written, and that one
// of ASCII alone is tried once.
func TestForms(t *testing.T) {
	const composed, decomposed = "pass\u00e9\u00df-\u0130", "passe\u0301\u00df-I\u0307"
	same := []string{composed, decomposed}
	quick, err := bcrypt.GenerateFromPassword([]byte(composed), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, stored := range same {
		for _, given := range same {
			if !slices.Contains(forms(given), stored) {
				t.Errorf("%q is not tried for %q", stored, given)
			}
		}
	}
	if !slices.Contains(forms("pass\xe9\xdf \x80"), "pass\u00e9\u00df \u20ac") {
		t.Errorf("Windows-1252: %q", forms("pass\xe9\xdf \x80"))
	}
	if list := forms("Passw0rd!"); !slices.Equal(list, []string{"Passw0rd!"}) {
		t.Errorf("%q", list)
	}
	h, err := Parse(string(quick))
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(1)
	for given, want := range map[string]int{composed: 0, decomposed: 0, "passe\u00df-I": -1, "": -1} {
		for range 2 { // the second one out of the cache
			if i, err := v.Verify(t.Context(), "a", []*Hash{h}, given); i != want || err != nil {
				t.Errorf("%q: %d, %v", given, i, err)
			}
		}
	}
}
