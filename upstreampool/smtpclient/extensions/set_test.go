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

package extensions

import "testing"

// TestLine has keywords as providers write them.
func TestLine(t *testing.T) {
	for line, want := range map[string]Set{
		"pipelining": {Pipelining: true}, "Chunking": {Chunking: true}, " 8bitmime": {EightBit: true}, "8 BITMIME": {EightBit: true}, "BINARYMIME ": {Binary: true},
		"SMTPUTF8\t": {UTF8: true}, "dsn": {DSN: true}, "STARTTLS": {StartTLS: true}, "": {}, " ": {}, "\t": {}, "HELP": {}, "XPIPELINING": {}, "PIPELINING=1": {},
		"SIZE": {Size: true}, "SIZE 0": {Size: true}, "SIZE 35882577": {Size: true}, "SIZE 99999999999999999999999999": {Size: true}, "SIZE -1": {Size: true}, "size\t1000": {Size: true}, "SIZE=100": {},
		"AUTH": {}, "AUTH LOGIN plain": {Auth: true, login: true, plain: true}, "auth\tXoauth2\tOAUTHBEARER": {Auth: true, xoauth2: true, oauthBearer: true},
		"AUTH=LOGIN PLAIN": {Auth: true, login: true, plain: true}, "auth=login": {Auth: true, login: true}, "AUTH=": {}, "AUTH CRAM-MD5": {Auth: true}, "AUTH=\tLOGIN": {Auth: true, login: true},
	} {
		var s Set
		if s.Line([]byte(line)); s != want {
			t.Errorf("%q: %+v, want %+v", line, s, want)
		}
	}
}
