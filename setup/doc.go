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

// Package setup is the way from nothing to a first test mail: what is asked, what
// the operator does at the provider, the configuration that comes of it, and the
// checks that really ask whether each step is done.
//
// It is data and functions, for whatever shows them: the command `smtp setup` on a
// terminal, the console as pages. It prints nothing and reads no terminal.
//
// # Concepts
//
// Answers are what the operator said; they hold no secret. Questions names those
// that are still needed, in the order in which they make sense. Tasks are the steps
// at the provider with the answers filled in. Caddyfile writes the configuration;
// secrets stand in files beside it. A Plan adds the answers to a configuration that
// has others, and changes none of them. Checks need no running gateway; what needs one
// (the token, the login, the mail) is the command's, through package operate.
//
// # Reading order
//
// answers.go, question.go, task.go, caddyfile.go, plan.go, state.go, check.go, client.go, graph.go.
//
// Nothing of ours is imported but upstreampool/preset, explain and what checks texts. There
// are no locks, and nothing outlives a call but the files that Save writes.
package setup
