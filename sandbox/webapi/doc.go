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

// Package webapi is the HTTP side of the sandbox's mailboxes: Microsoft Graph's
// sendMail and the Gmail API's messages.send with the manners that matter to a
// gateway: no envelope, limits that show after the answer, outcomes that are not
// known, text that is wrapped again.
//
// What the endpoint refuses by itself is in one table, with the source beside
// each row: `doc` is the provider's page, `code` public code that handles it,
// `report` what users or integrators wrote, `assumed` what is stated nowhere.
// One live run can confirm or correct a row.
//
// Reading order: host.go is what the package needs of the sandbox and the way
// of a request, recipients.go who gets a message, graph.go and gmail.go the
// endpoints.
//
// The parser of recipients is this package's own. It reads what is unclear
// generously, as a provider may, so that a test finds the mail that a stricter
// reader would have let through. It must not be shared with a transport.
package webapi
