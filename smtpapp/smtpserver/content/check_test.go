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

package content

import (
	"strings"
	"testing"
)

func TestWhole(t *testing.T) {
	for _, tc := range []struct {
		in    string
		n     int
		ended bool
	}{
		{"", 0, false},
		{"abc", 3, false},
		{"abc\r\n", 5, true},
		{"abc\r\ndef", 8, false},
		{"abc\r", 3, false}, // what follows the CR is not known
		{"\r", 0, false},
		{"abc\r\n\r", 5, true},
		{"abc\r\n.\r\nQUIT\r\n", 5, true}, // the end of the message is the caller's
		{"abc\r\n..\r\n", 5, true},
		{"\r\n.", 2, true},
		{".abc\r\n", 6, true},
		{"a.b\r\nc.\r\n", 9, true},
		{"abc\n", 0, false},
		{"abc\r\n\n", 0, false},
		{"abc\rdef\r\n", 0, false},
		{"abc\r\r\n", 0, false},
		{"abc\r\ndef\r\r", 0, false},
		{"abc\r\n.\n", 5, true}, // not looked at beyond the dot
		{"abc\r\nd\x00f", 0, false},
		{strings.Repeat("x", maxLine) + "\r\n", maxLine + 2, true},
		{strings.Repeat("x", maxLine+1) + "\r\n", 0, false},
		{strings.Repeat("x", maxLine+1), 0, false},
	} {
		var c Checker
		if n, ended := c.Whole([]byte(tc.in)); n != tc.n || ended != tc.ended {
			t.Errorf("%.30q: %d octets, ended %v; want %d, %v", tc.in, n, ended, tc.n, tc.ended)
		}
	}
	if n, _ := (&Checker{NoCR: true}).Whole([]byte("abc\r\n")); n != 0 {
		t.Errorf("%d octets with a CR are passed on where none may be", n)
	}
}

// TestWholeLongLine has a line that is too long only all in all.
func TestWholeLongLine(t *testing.T) {
	var c Checker
	half := []byte(strings.Repeat("x", maxLine/2+1))
	if n, _ := c.Whole(half); n != len(half) {
		t.Fatalf("%d octets", n)
	}
	if n, _ := c.Whole(half); n != 0 {
		t.Fatalf("%d octets of a line that is too long", n)
	}
}
