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

// Package mailing sends invitations to the owners of many mailboxes, through one of
// the gateway's own accounts.
//
// # Concepts
//
// An Order is a list of rows and the account that sends. It lies in the storage with
// how far it has come, so that it goes on where it was, after a pause, a restart or
// on another node: a row is invited, written down as on its way, sent, and written down
// as sent before the next. Of a mail that was being sent when its process was killed
// nobody knows whether it went out: it is not sent again by itself but shown, as one
// whose acceptance the provider left open is. A link is in no record, only in its mail.
//
// What concerns one row (a recipient that the provider refuses, an account that is not
// there) is written down for that row, and the next follows. What concerns the gateway
// or the sending account (a limit, a lost connection, a pause) makes the order wait, and
// is shown.
//
// A Keeper takes up whatever is neither done nor paused: behind a restart, and on
// another node when the one that worked on it is gone.
//
// # Reading order
//
// order.go, run.go, keep.go, message.go.
//
// # Locking
//
// One process at a time has an order: the storage's lock of its name. In a process
// runs.mu guards which orders it works on; it is held for no call.
package mailing
