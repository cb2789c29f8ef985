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

// Package assertion signs what a client, or a service account, shows an authorization
// server in place of a secret: JSON Web Tokens of a few minutes (RFC 7521, 7523). It
// reads the keys for it, PEM, PKCS#12 or Google's JSON, from bytes: it opens no file and
// asks no server. An error names the option that the bytes are from, and holds nothing
// of a key.
//
// Reading order: certificate.go (a client's), serviceaccount.go (Google's), key.go.
// Nothing is locked, and nothing changes once it is read.
package assertion
