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

package upstreampool

import (
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/upstreampool/smtpclient"
)

// preset is what a provider publishes about its submission service. Every value
// is a default that the configuration overrides; no code path depends on a
// preset's name.
type preset struct {
	dial      string
	tls       string
	mechanism string
	provider  string // the OAuth provider's usual name

	maxConns   int // per account
	rate       accounts.Rate
	messages   accounts.Rate
	recipients accounts.Rate

	idleTimeout time.Duration
	maxAge      time.Duration
}

const day = 24 * time.Hour

// presets are checked against the providers' own pages; where a page states no
// limit, none is set here.
var presets = map[string]preset{
	// https://support.google.com/a/answer/166852: 2,000 messages and 10,000
	// recipients in a rolling 24 h for Workspace. A personal mailbox has 500
	// messages: narrow it with the account's own limits.
	"gmail": {
		dial: "smtp.gmail.com:587", tls: smtpclient.StartTLS,
		mechanism: smtpclient.XOAUTH2, provider: "google",
		messages:   accounts.Rate{Count: 2000, Per: day},
		recipients: accounts.Rate{Count: 10000, Per: day},
	},
	// https://support.google.com/a/answer/2956491: 10,000 recipients a day and user.
	"workspace_relay": {
		dial: "smtp-relay.gmail.com:587", tls: smtpclient.StartTLS,
		mechanism: smtpclient.XOAUTH2, provider: "google",
		recipients: accounts.Rate{Count: 10000, Per: day},
	},
	// https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements:
	// 3 connections and 30 messages a minute for a mailbox, 10,000
	// recipients a day. The service closes what idles for about five
	// minutes and what lives for about twenty; both defaults stay below.
	"microsoft365": {
		dial: "smtp.office365.com:587", tls: smtpclient.StartTLS,
		mechanism: smtpclient.XOAUTH2, provider: "microsoft",
		maxConns:   3,
		rate:       accounts.Rate{Count: 30, Per: time.Minute},
		recipients: accounts.Rate{Count: 10000, Per: day},
	},
	// https://support.microsoft.com/office/279ee200: 5,000 recipients a day
	// for subscribers. The connection limit is Exchange Online's.
	"outlook": {
		dial: "smtp-mail.outlook.com:587", tls: smtpclient.StartTLS,
		mechanism: smtpclient.XOAUTH2, provider: "microsoft",
		maxConns:   3,
		recipients: accounts.Rate{Count: 5000, Per: day},
	},
	// https://senders.yahooinc.com/developer/documentation (OAUTHBEARER);
	// 500 messages a day.
	"yahoo": {
		dial: "smtp.mail.yahoo.com:465", tls: smtpclient.ImplicitTLS,
		mechanism: smtpclient.OAuthBearer, provider: "yahoo",
		messages: accounts.Rate{Count: 500, Per: day},
	},
	// https://www.fastmail.com/for-developers/oauth. Limits are not published.
	"fastmail": {
		dial: "smtp.fastmail.com:465", tls: smtpclient.ImplicitTLS,
		mechanism: smtpclient.OAuthBearer, provider: "fastmail",
	},
	// Zoho's SMTP service announces PLAIN and LOGIN only: it needs an
	// application password. Its limits are 50 to 500 external messages an
	// hour by plan; this is the highest.
	"zoho": {
		dial: "smtp.zoho.com:465", tls: smtpclient.ImplicitTLS,
		mechanism: smtpclient.AuthPlain,
		messages:  accounts.Rate{Count: 500, Per: time.Hour},
	},
}
