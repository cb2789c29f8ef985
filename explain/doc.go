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

// Package explain says in words what a failure on the way to a provider, or
// there, means, what to do about it, and who can.
//
// There is one table. Its rows stand in a file per speaker: entra.go and
// oauth.go for authorization servers, microsoft.go, google.go and others.go for
// SMTP servers, api.go for Graph and the Gmail API, network.go for the system
// and the TLS library. A row is known by a code first (an AADSTS number, an
// API's error code, an OAuth error, an enhanced status code of RFC 3463) and by
// words only where the code alone says too little, or where there is none. What
// no row knows gets the general meaning of its code (general.go), and says so.
//
// Read find.go for the order in which the rows are asked, codes.go for how
// codes are found in a text. The package keeps no state and imports none of
// ours. docs/replies.md holds the table as well; TestManual writes and compares it.
package explain
