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

package setup

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/caddymail/mailgateway/upstreampool/preset"
)

// Provider is whose mailboxes send.
type Provider string

// The providers that setup knows. Other is any that speaks OAuth over SMTP.
const (
	Microsoft Provider = "microsoft"
	Google    Provider = "google"
	Other     Provider = "other"
)

// Way is who lets the gateway send.
type Way string

// The ways.
const (
	// App is the administrator, once, for the mailboxes that are named.
	App Way = "app"
	// User is each mailbox's owner.
	User Way = "user"
	// Personal is the owner of a personal mailbox of Microsoft's, which belongs to
	// no tenant.
	Personal Way = "personal"
)

// Transport is how mail leaves.
type Transport string

// The transports. Mailboxes of other providers than Microsoft have SMTP alone.
const (
	SMTP  Transport = "smtp"
	Graph Transport = "graph"
)

// Answers are what the operator said. They hold no secret, and may be kept.
type Answers struct {
	Provider Provider `json:"provider,omitempty"`
	Way      Way      `json:"way,omitempty"`
	// Transport is how mail leaves a mailbox of Microsoft's.
	Transport Transport `json:"transport,omitempty"`
	// Number is of this provider in the configuration, where others of its kind have
	// the names before: from 2 on.
	Number int `json:"number,omitempty"`
	// Mailbox is the first that sends, To where the test mail goes.
	Mailbox string `json:"mailbox,omitempty"`
	To      string `json:"to,omitempty"`
	// Hostname is the name by which devices reach the gateway; `localhost` for
	// this machine alone.
	Hostname string `json:"hostname,omitempty"`

	// Tenant is Microsoft's; ObjectID is the enterprise application's.
	Tenant   string `json:"tenant,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	ObjectID string `json:"object_id,omitempty"`
	// KeyFile is the JSON key of Google's service account.
	KeyFile string `json:"key_file,omitempty"`

	// What follows is for Other; Dial and the URLs also for a Microsoft cloud or
	// a proxy of one's own that is not at the usual addresses.

	Dial     string `json:"dial,omitempty"`
	TLS      string `json:"tls,omitempty"` // `starttls` or `implicit`
	TokenURL string `json:"token_url,omitempty"`
	AuthURL  string `json:"auth_url,omitempty"`
	GraphURL string `json:"graph_url,omitempty"`
	Scopes   string `json:"scopes,omitempty"`
	CAFile   string `json:"ca_file,omitempty"`

	// Redirect is the address of the pages of mailbox owners, where the provider
	// sends their browsers back to: it ends with `/callback/` and the provider's
	// name. Empty: `smtp login` on this machine, and the pages that the written
	// configuration has.
	Redirect string `json:"redirect,omitempty"`
}

// preset is the name of the provider's published values.
func (a *Answers) preset() string {
	switch a.Provider {
	case Microsoft:
		if a.Graph() {
			return ""
		}
		return "microsoft365"
	case Google:
		return "gmail"
	}
	return ""
}

// Graph reports whether mail leaves through Microsoft Graph. Personal mailboxes are
// made with SMTP shut.
func (a *Answers) Graph() bool {
	return a.Provider == Microsoft && (a.Transport == Graph || a.Way == Personal)
}

// API is the address of Microsoft Graph.
func (a *Answers) API() string { return strings.TrimSuffix(cmp.Or(a.GraphURL, graphURL), "/") }

// tenant is whose users sign in.
func (a *Answers) tenant() string {
	if a.Way == Personal {
		return "consumers"
	}
	return a.Tenant
}

// scopes are what tokens are for; empty: the provider's default.
func (a *Answers) scopes() string {
	switch {
	case a.Scopes != "" || !a.Graph():
		return a.Scopes
	case a.Way == App:
		return graphURL + "/.default"
	}
	if a.Way == Personal {
		// Graph then sends as whoever the token's user is, which it is asked for first.
		return graphURL + "/Mail.Send " + graphURL + "/User.Read offline_access"
	}
	return graphURL + "/Mail.Send offline_access"
}

// numbered is a name in the configuration, told from those of others of the kind.
func (a *Answers) numbered(name string) string {
	if a.Number > 1 {
		return fmt.Sprintf("%s-%d", name, a.Number)
	}
	return name
}

// Upstream is the name of the upstream in the configuration, OAuth that of the
// authorization server.
func (a *Answers) Upstream() string {
	if a.Graph() {
		return a.OAuth()
	}
	return a.numbered(cmp.Or(a.preset(), "provider"))
}

// OAuth is the name of the authorization server in the configuration.
func (a *Answers) OAuth() string { return a.numbered(a.kind()) }

// kind is the name of the first of a kind. What is granted for Graph is not for SMTP:
// whoever begins with one and goes on with the other has two providers, each with its
// consents.
func (a *Answers) kind() string {
	switch {
	case a.Provider == Other:
		return "provider"
	case a.Way == Personal:
		return "outlook"
	case a.Graph():
		return "graph"
	}
	return string(a.Provider)
}

// Consents reports whether a mailbox's owner has to consent.
func (a *Answers) Consents() bool { return a.Way == User || a.Way == Personal }

// NeedsSecret reports whether there is a client secret to be kept.
func (a *Answers) NeedsSecret() bool { return a.Provider != Google || a.Way != App }

// Server is the address of the provider's submission server.
func (a *Answers) Server() string {
	p, _ := preset.ByName(a.preset())
	return cmp.Or(a.Dial, p.Dial)
}

// TokenServer is the address of the authorization server's token endpoint.
func (a *Answers) TokenServer() string {
	switch {
	case a.TokenURL != "":
		return a.TokenURL
	case a.Provider == Microsoft:
		return "https://login.microsoftonline.com/" + url.PathEscape(a.tenant()) + "/oauth2/v2.0/token"
	case a.Provider == Google:
		return "https://oauth2.googleapis.com/token"
	}
	return ""
}

// Redirects are the addresses to register with the provider.
func (a *Answers) Redirects() []string {
	if a.Redirect != "" {
		return []string{a.Redirect}
	}
	return []string{"http://localhost", connectURL + "/callback/" + a.OAuth()}
}

// Digest tells answers from those that another window has seen.
func (a *Answers) Digest() string {
	text, _ := json.Marshal(a) //nolint:errchkjson // strings alone
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// local reports whether only this machine is served.
func (a *Answers) local() bool {
	ip := net.ParseIP(a.Hostname)
	return a.Hostname == "" || strings.EqualFold(a.Hostname, "localhost") || ip != nil && ip.IsLoopback()
}
