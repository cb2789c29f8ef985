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

// Package content looks at a message's octets for what none may hold: a CR or LF that
// stands alone (what one server takes for a line another does not: SMTP smuggling),
// NUL, and lines without end. Where the operator wants it, it makes lines of what
// stands alone instead. It knows neither where a message ends nor any connection.
//
// It imports nothing of this module.
package content
