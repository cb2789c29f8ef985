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

package gmail

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// Transport is an upstream that is a mailbox at the Gmail API.
type Transport struct {
	// Endpoint is the base URL of the API. Default: `https://gmail.googleapis.com`.
	Endpoint string `json:"endpoint,omitempty"`
	// UserinfoURL is where Google says whose an access token is. Default:
	// `https://openidconnect.googleapis.com/v1/userinfo`.
	UserinfoURL string `json:"userinfo_url,omitempty"`
	// TrustPoolRaw is the trust pool for both. Default: the system's.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`
	// Provider names the OAuth provider. Default: `google`.
	Provider string `json:"provider,omitempty"`
	// Scopes are what the access token is asked for. Default: gmail.send,
	// openid and email; gmail.send alone with domain_wide.
	Scopes []string `json:"scopes,omitempty"`
	// DomainWide says that the provider's tokens are a service account's, which
	// the gateway itself asks for in the mailbox's name: whose they are is not
	// asked. Default: false.
	DomainWide bool `json:"domain_wide,omitempty"`

	// MaxSize is the largest message, in octets, at most 36700160. Default:
	// 36700160.
	MaxSize int64 `json:"max_size,omitempty"`
	// MaxRecipients is the number of recipients of a message, at most 500; those
	// beyond are refused with 452, so that the client sends them in another message.
	// Default: 500.
	MaxRecipients int `json:"max_recipients,omitempty"`
	// Rewrite takes recipients out of the header that the envelope does not
	// name, in place of refusing the message. Default: false.
	Rewrite bool `json:"rewrite,omitempty"`
	// NullSender sends messages with the null sender, which then leave as the
	// mailbox. Default: false.
	NullSender bool `json:"null_sender,omitempty"`

	// Ledger names the upstream that counts what this one sends: the one for
	// SMTP of the same mailboxes, whose limits are then in force, and of whose
	// connections each request is one. Default: this one.
	Ledger string `json:"ledger,omitempty"`
	// MaxConnsPerAccount is the number of requests of a mailbox at a time.
	// Default: 4.
	MaxConnsPerAccount int `json:"max_conns_per_account,omitempty"`
	// RatePerAccount limits messages of a mailbox: 100 of 6,000 quota units a
	// minute each. Default: 60/1m.
	RatePerAccount accounts.Rate `json:"rate_per_account,omitzero"`
	// MessagesPerAccount limits messages of a mailbox in a long period. A
	// personal mailbox has 500. Default: 2000/24h.
	MessagesPerAccount accounts.Rate `json:"messages_per_account,omitzero"`
	// RecipientsPerAccount limits recipients of a mailbox. Default: 10000/24h.
	RecipientsPerAccount accounts.Rate `json:"recipients_per_account,omitzero"`
	// MaxWait is how long a message waits for its turn. Default: 30s.
	MaxWait caddy.Duration `json:"max_wait,omitempty"`
	// Timeout is how long Gmail may take to read on or to answer. Default: 2m.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	*mailapi.Upstream `json:"-"`

	roots   *x509.CertPool
	tokens  grant.Source
	logger  *zap.Logger
	storage certmagic.Storage
}

// providerMaxSize is what the upload endpoint takes (the API's discovery
// document, revision 20261005).
const providerMaxSize = 36_700_160

// maxRecipients is Google's limit of a message
// (https://knowledge.workspace.google.com/admin/gmail/gmail-sending-limits-in-google-workspace).
const maxRecipients = 500

// fill sets the defaults and checks the rest.
func (t *Transport) fill() error {
	t.Endpoint = strings.TrimSuffix(cmp.Or(t.Endpoint, "https://gmail.googleapis.com"), "/")
	t.UserinfoURL = cmp.Or(t.UserinfoURL, "https://openidconnect.googleapis.com/v1/userinfo")
	if err := errors.Join(mailapi.CheckEndpoint("endpoint", t.Endpoint), mailapi.CheckEndpoint("userinfo_url", t.UserinfoURL)); err != nil {
		return err
	}
	t.Provider = cmp.Or(t.Provider, "google")
	if len(t.Scopes) == 0 {
		t.Scopes = []string{"https://www.googleapis.com/auth/gmail.send"}
		if !t.DomainWide {
			t.Scopes = append(t.Scopes, "openid", "email")
		}
	}
	t.MaxSize = cmp.Or(t.MaxSize, providerMaxSize)
	t.MaxRecipients = cmp.Or(t.MaxRecipients, maxRecipients)
	t.MaxConnsPerAccount = cmp.Or(t.MaxConnsPerAccount, 4)
	t.MaxWait = cmp.Or(t.MaxWait, caddy.Duration(30*time.Second))
	t.Timeout = cmp.Or(t.Timeout, caddy.Duration(2*time.Minute))
	if t.Ledger != "" && (!t.RatePerAccount.IsZero() || !t.MessagesPerAccount.IsZero() || !t.RecipientsPerAccount.IsZero()) {
		return fmt.Errorf("ledger: the limits are those of upstream '%s': set them there", t.Ledger)
	}
	if t.RatePerAccount.IsZero() {
		t.RatePerAccount = accounts.Rate{Count: 60, Per: time.Minute}
	}
	if t.MessagesPerAccount.IsZero() {
		t.MessagesPerAccount = accounts.Rate{Count: 2000, Per: 24 * time.Hour}
	}
	if t.RecipientsPerAccount.IsZero() {
		t.RecipientsPerAccount = accounts.Rate{Count: 10000, Per: 24 * time.Hour}
	}
	switch {
	case t.MaxSize < 0 || t.MaxSize > providerMaxSize:
		return fmt.Errorf("max_size: want 1 to %d, which is what Gmail takes", providerMaxSize)
	case t.MaxRecipients < 0 || t.MaxRecipients > maxRecipients:
		return fmt.Errorf("max_recipients: want 1 to %d, which is what Gmail takes", maxRecipients)
	case t.MaxConnsPerAccount < 0:
		return errors.New("max_conns_per_account: must not be negative")
	case t.MaxWait < 0:
		return errors.New("max_wait: must not be negative")
	case t.Timeout < 0:
		return errors.New("timeout: must not be negative")
	}
	return nil
}
