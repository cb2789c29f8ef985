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

// Package extensions knows what a provider announced in its reply to EHLO and what
// follows for a message: whether it can be carried, what has to be looked for in it,
// and how MAIL and RCPT are written. It knows no connection.
//
// Reading order: set.go, check.go, command.go, needs.go.
//
// Of ours it imports relay, for replies.
package extensions
