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

// Package servertls is what a server's TLS needs beside Caddy's connection
// policies: a certificate of files that others renew, TLS 1.0 and 1.1 for devices
// that know no better, an answer to names that no certificate has, and a change to
// whatever configuration a policy chooses.
//
// Reading order: file.go, legacy.go, names.go, anyname.go. It has no goroutine, and what
// it holds ends with its holder: nothing outlives a reload. Certificate.mu and the lock of an
// overridden configuration are leaves. It imports nothing of ours.
package servertls
