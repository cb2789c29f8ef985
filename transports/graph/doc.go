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

// Package graph is the transport `graph`: messages leave through Microsoft
// Graph's sendMail, where SMTP AUTH is off or port 587 is closed.
//
// Graph has no envelope, so that envelope and header are compared before the
// one request; it has no way to repeat a request safely, so that an answer that
// is not clear is never repeated here. 202 is what becomes 250: Graph has taken
// the message into the mailbox's drafts and will send it. What happens
// afterwards (refused recipients, limits) comes as a report to the mailbox.
//
// What it has in common with other APIs is package mailapi: places, counts, the
// request itself.
//
// Reading order: config.go is what can be set, transport.go the module,
// transaction.go what is posted, errors.go what an answer means.
package graph
