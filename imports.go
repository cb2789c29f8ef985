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

// Package mailgateway is a set of Caddy modules: an SMTP submission gateway
// that sends through providers which ask for OAuth.
package mailgateway

import (
	_ "embed"

	// The modules and their options.
	_ "github.com/caddymail/mailgateway/caddymodule"
)

// Example is the newcomer's configuration: a gateway, a sandbox provider and
// the status page, all on loopback. It is what runs where none is given.
//
//go:embed Caddyfile.example
var Example []byte
