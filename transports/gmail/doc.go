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

// Package gmail is the transport `gmail`: messages leave through the Gmail API's
// users.messages.send, where the SMTP scope or port 587 is not to be had.
//
// It is worse than SMTP in one thing, which is why it is never a default: the
// API re-wraps text/plain parts, so that the message's octets, and signatures
// made over them, do not survive.
//
// Messages stream: the header is read and compared with the envelope, and the
// rest leaves as it comes. What is in common with other APIs, above all when a
// request is repeated, is package mailapi.
//
// Before a token sends anything, Google is asked whose it is: a token of another
// user would send in that user's name.
//
// Reading order: config.go is what can be set, transport.go the module,
// identity.go whose a token is, errors.go what an answer means.
package gmail
