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

package migrate

import (
	"net"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/invoked"
)

// What MTAs that log in at providers with passwords have in common.

// presetHosts are the servers that have a preset.
var presetHosts = map[string]string{
	"smtp.gmail.com": "gmail", "smtp.googlemail.com": "gmail", "smtp-relay.gmail.com": "workspace_relay",
	"smtp.office365.com": "microsoft365", "smtp-mail.outlook.com": "outlook", "smtp-legacy.office365.com": "microsoft365",
	"smtp.mail.yahoo.com": "yahoo", "smtp.fastmail.com": "fastmail", "smtp.zoho.com": "zoho",
}

// at has the upstream be at a server.
func (p *SuggestedProvider) at(host, port string) {
	if p.Preset = presetHosts[accounts.FoldName(host)]; p.Preset != "" {
		return
	}
	p.Dial = net.JoinHostPort(host, port)
	if port == "465" {
		p.TLS = "implicit"
	}
}

// keep has an account keep its password for the provider, where that takes any.
func (im *Imported) keep(p *SuggestedProvider, password string) {
	if p.Preset == "microsoft365" || p.Preset == "outlook" {
		p.Password = false
		im.note("Microsoft takes no passwords: run `%s %s` for consent, or use app-only access", invoked.Words("caddy smtp login"), im.Record.Name)
		return
	}
	im.Record.Secret = password
}

// domainPreset is the preset of a mailbox whose domain alone tells it.
func domainPreset(address string) string {
	_, domain, _ := accounts.SplitAddress(address)
	switch domain = accounts.FoldName(domain); {
	case domain == "gmail.com", domain == "googlemail.com":
		return "gmail"
	case microsoftPreset(address) == "outlook":
		return "outlook"
	}
	switch first, _, _ := strings.Cut(domain, "."); first {
	case "yahoo", "fastmail":
		return first
	}
	return ""
}
