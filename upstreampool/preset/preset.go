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

package preset

import (
	"maps"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// Preset is what a provider publishes about its submission service. Every value
// is a default that the configuration overrides; no code path depends on a
// preset's name.
type Preset struct {
	Dial      string
	Hint      string // what `dial` looks like where it is the customer's own
	TLS       string
	Mechanism string
	Provider  string // the OAuth provider's usual name

	MaxConns    int // per account
	MaxMessages int // of one connection
	Rate        accounts.Rate
	Messages    accounts.Rate
	Recipients  accounts.Rate

	IdleTimeout time.Duration
	MaxAge      time.Duration
}

const day = 24 * time.Hour

// manyMessages is for providers whose pages bound messages and recipients in a
// time, and connections, but not the messages of one connection: what ends it
// there is its age. A login for each hundred messages counts against the limits
// of logins and costs a sixth of the speed. One that is ended sooner by the
// provider is replaced unseen.
const manyMessages = 1000

// presets are checked against the providers' own pages; where a page states no
// limit, none is set here.
var presets = map[string]Preset{
	// https://support.google.com/a/answer/166852: 2,000 messages and 10,000
	// recipients in a rolling 24 h for Workspace. A personal mailbox has 500
	// messages: narrow it with the account's own limits.
	"gmail": {
		Dial: "smtp.gmail.com:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.XOAUTH2, Provider: "google",
		MaxMessages: manyMessages,
		Messages:    accounts.Rate{Count: 2000, Per: day},
		Recipients:  accounts.Rate{Count: 10000, Per: day},
	},
	// https://support.google.com/a/answer/2956491: 10,000 recipients a day and user.
	"workspace_relay": {
		Dial: "smtp-relay.gmail.com:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.XOAUTH2, Provider: "google",
		MaxMessages: manyMessages,
		Recipients:  accounts.Rate{Count: 10000, Per: day},
	},
	// https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements:
	// 3 connections and 30 messages a minute for a mailbox, 10,000
	// recipients a day. The service closes what idles for about five
	// minutes and what lives for about twenty; both defaults stay below.
	"microsoft365": {
		Dial: "smtp.office365.com:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.XOAUTH2, Provider: "microsoft",
		MaxMessages: manyMessages,
		MaxConns:    3,
		Rate:        accounts.Rate{Count: 30, Per: time.Minute},
		Recipients:  accounts.Rate{Count: 10000, Per: day},
	},
	// https://support.microsoft.com/office/279ee200: 5,000 recipients a day
	// for subscribers. The connection limit is Exchange Online's.
	"outlook": {
		Dial: "smtp-mail.outlook.com:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.XOAUTH2, Provider: "microsoft",
		MaxMessages: manyMessages,
		MaxConns:    3,
		Recipients:  accounts.Rate{Count: 5000, Per: day},
	},
	// https://senders.yahooinc.com/developer/documentation (OAUTHBEARER);
	// 500 messages a day.
	"yahoo": {
		Dial: "smtp.mail.yahoo.com:465", TLS: smtpclient.ImplicitTLS,
		Mechanism: smtpclient.OAuthBearer, Provider: "yahoo",
		Messages: accounts.Rate{Count: 500, Per: day},
	},
	// https://www.fastmail.com/for-developers/oauth. Limits are not published.
	"fastmail": {
		Dial: "smtp.fastmail.com:465", TLS: smtpclient.ImplicitTLS,
		Mechanism: smtpclient.OAuthBearer, Provider: "fastmail",
	},
	// Zoho's SMTP service announces PLAIN and LOGIN only: it needs an
	// application password. Its limits are 50 to 500 external messages an
	// hour by plan; this is the highest.
	"zoho": {
		Dial: "smtp.zoho.com:465", TLS: smtpclient.ImplicitTLS,
		Mechanism: smtpclient.AuthPlain,
		Messages:  accounts.Rate{Count: 500, Per: time.Hour},
	},
	// https://learn.microsoft.com/exchange/mail-flow-best-practices/high-volume-mails-m365:
	// internal recipients only, 50 and 10 MB a message, no rate limit.
	"hve": {
		Dial: "smtp.hve.mx.microsoft:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.XOAUTH2, Provider: "microsoft",
	},
	// https://learn.microsoft.com/azure/communication-services/quickstarts/email/send-email-smtp/smtp-authentication:
	// the password is a client secret. Limits are those of the resource.
	"azure_communication": {
		Dial: "smtp.azurecomm.net:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.AuthPlain,
	},
	// https://learn.microsoft.com/exchange/mail-flow-best-practices/use-connectors-to-configure-mail-flow/set-up-connectors-to-route-mail:
	// the gateway is known by its address or its client certificate. The
	// host is the tenant's own.
	"connector": {
		Hint: "DOMAIN.mail.protection.outlook.com:25", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.AuthNone,
	},
	// https://docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html: the
	// host is the region's. Limits are the account's own.
	"ses": {
		Hint: "email-smtp.REGION.amazonaws.com:587", TLS: smtpclient.StartTLS,
		Mechanism: smtpclient.AuthPlain,
	},
}

// ByName returns the preset of that name.
func ByName(name string) (p Preset, ok bool) {
	p, ok = presets[name]
	return p, ok
}

// Names are the presets that an upstream may name, in order.
func Names() []string { return slices.Sorted(maps.Keys(presets)) }
