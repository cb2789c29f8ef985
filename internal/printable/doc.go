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

// Package printable keeps foreign text from playing tricks on who reads it: a
// character that turns a line around, hides a part or moves the cursor is shown
// as its escape.
//
// Text, Cut and Line (printable.go) are for one text, Escape and Writer (writer.go) for what
// is made of many: JSON, the output of a command. Logger (log.go) is for all that a logger
// is given, and each app and module takes its own from it: a test of
// caddymodule finds one that does not. Neither keeps anything, so that nothing
// outlives a reload. The package imports none of ours.
package printable
