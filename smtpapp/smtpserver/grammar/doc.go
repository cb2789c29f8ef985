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

// Package grammar reads the arguments of MAIL and RCPT: paths, mailboxes and the
// parameters of the extensions that the gateway announces. It keeps no state and
// knows no connection.
//
// Strict is RFC 5321 to the letter. Otherwise what old devices write is read as
// it is meant, where it can mean one thing only: paths without brackets, blanks
// around them, dots and lengths in local parts. Whether an address exists is for
// the provider to say.
//
// Reading order: params.go (a command's arguments), path.go (an address).
//
// It may import relay, for the replies that say what is wrong, and the types of
// github.com/emersion/go-smtp.
package grammar
