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

// Package invoked knows what this program is called by: the gateway's own binary is
// `mailgateway`, and the same modules in somebody's Caddy are `caddy`. What it tells
// people to run must be there.
package invoked

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ours is what the gateway's own binary is called, whatever follows (a system, a version).
const ours = "mailgateway"

// Own reports whether this is the gateway's own binary, and not a Caddy.
func Own() bool { return own(os.Args[0]) }

func own(program string) bool {
	// A test may run Windows' paths elsewhere.
	program = program[strings.LastIndexByte(program, '\\')+1:]
	return strings.HasPrefix(filepath.Base(program), ours)
}

// commands are those of Caddy and of the gateway that texts name.
var commands = regexp.MustCompile(`\bcaddy (smtp|reload|hash-password|storage)\b`)

// Words returns a text in which commands have the name that they can be run by. It is
// written with Caddy's.
func Words(text string) string { return words(text, Own()) }

func words(text string, own bool) string {
	if !own || !strings.Contains(text, "caddy ") {
		return text
	}
	return commands.ReplaceAllString(text, ours+" $1")
}
