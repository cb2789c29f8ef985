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

// Package sandbox is the Caddy app `smtp_sandbox`: a mail provider to run on a
// laptop and in tests, with SMTP submission, OAuth, limits and faults. It
// keeps what it receives and delivers nothing.
//
// In a test it needs no Caddy:
//
//	s, err := sandbox.Start(&sandbox.App{Profile: "microsoft"}, nil)
//	defer s.Close()
//	// dial s.SMTPAddr(), trust s.CertPool(), ask s.TokenURL() for tokens
//	s.AddFault(sandbox.Fault{Stage: "end", Action: "drop_after_accept"})
//	s.Messages() // what the provider holds
//
// # OAuth endpoints
//
//	POST /token, POST /TENANT/oauth2/v2.0/token
//	     refresh_token, client_credentials, authorization_code with PKCE,
//	     device_code, JWT bearer; secrets by body or Basic, or client assertions
//	GET  /authorize   consents at once for the mailbox of login_hint
//	POST /device      device authorization; approved at the second poll
//	GET  /device      ?user_code=, and login_hint= for another mailbox
//	GET|POST /introspect, GET /userinfo
//	GET  /.well-known/openid-configuration
//
// The refresh token of a mailbox is `rt-` and its address, unless Mailboxes
// says otherwise. Endpoints and ports are plain HTTP on loopback.
//
// # Inspection and control
//
//	GET    /messages             ?after=ID&limit=N (default 100, at most 10000)
//	DELETE /messages
//	GET    /messages/ID/body     under keep_bodies
//	GET    /stats                a [Stats]
//	GET    /ca.pem               the authority of its certificate
//	GET    /faults               a list of [FaultStatus]
//	POST   /faults               a [Fault]
//	DELETE /faults
//	POST   /control/revoke       {"mailbox": "a@example.com"}
//	POST   /control/restore      {"mailbox": "a@example.com"}
//	POST   /control/expire       {"mailbox": ""}: access tokens; "" is all
//	POST   /control/fail_tokens  a [TokenFailure]
//	POST   /control/consents     a [ConsentAnswer]
//	POST   /control/listen       {"on": false}: refuse SMTP connections
//	POST   /control/drop         {"reset": true}: end all SMTP connections
package sandbox
