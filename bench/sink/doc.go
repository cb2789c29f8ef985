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

// Package sink is the provider of the benchmark: an SMTP submission server that
// keeps nothing and counts each message once, and a token endpoint (sink.go). It
// runs as a process of its own, so that its CPU time is known; PUT /policy makes
// it slow or sick. conn.go is one session, which allocates nothing per message.
package sink
