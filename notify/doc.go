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

// Package notify tells people of trouble: of each once when it begins, and once
// when it is over.
//
// A Watch looks at the gateway every half minute (operate.Examine) and emits an
// event of Caddy's, smtp_trouble, for each trouble that has begun or is over.
// It runs while a configuration has a handler of this package. What is trouble
// is a state, not a message: what lasts is one trouble, and what comes and goes
// within a minute is one that lasts.
//
// A Handler (events.handlers.smtp_notify) takes these events to a desk, which
// collects them for a while and sends them as one digest: to a webhook, as mail
// through one of the gateway's own accounts, or both.
//
// Reading order: watch.go, handler.go, desk.go, then webhook.go and mail.go.
//
// Watch and desks outlive configurations, so that a reload tells nothing anew;
// they end with the last configuration that has them, and a desk sends first
// what it has. The desk's lock is held for no send and no event.
//
// It may import operate and internal/checkup; no Caddyfile and no HTTP server.
package notify
