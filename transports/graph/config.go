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

package graph

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
	"github.com/caddymail/mailgateway/internal/mscloud"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// Transport is an upstream that is a mailbox at Microsoft Graph.
type Transport struct {
	// Cloud is `public` (GCC too), `usgov` (GCC High), `usdod` or `china` (21Vianet).
	// Default: the OAuth provider's, from which it may not differ, or `public`.
	Cloud string `json:"cloud,omitempty"`
	// Endpoint is the base URL of Graph. Default: the cloud's.
	Endpoint string `json:"endpoint,omitempty"`
	// TrustPoolRaw is the trust pool for the endpoint. Default: the system's.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`
	// Provider names the OAuth provider. Default: `microsoft`.
	Provider string `json:"provider,omitempty"`
	// Scopes are what the access token is asked for. Default: Mail.Send of the
	// cloud's Graph and offline_access, or its .default with app_only.
	Scopes []string `json:"scopes,omitempty"`
	// AppOnly says that the provider's tokens are an application's own.
	// Default: false.
	AppOnly bool `json:"app_only,omitempty"`
	// User is whose mailbox the request names: `mailbox`, which is the
	// account's, or `me`, the token's own user. Personal accounts need `me`.
	// Default: `mailbox`.
	User string `json:"user,omitempty"`

	// MaxSize is the largest message, in octets. Default: 3000000, which is
	// 4 MB in base64.
	MaxSize int64 `json:"max_size,omitempty"`
	// MaxRecipients is the number of recipients of a message; those beyond are
	// refused with 452, so that the client sends them in another message. Default:
	// 500, which is Exchange's unless the tenant has another.
	MaxRecipients int `json:"max_recipients,omitempty"`
	// Rewrite takes recipients out of the header that the envelope does not
	// name, in place of refusing the message. It breaks DKIM. Default: false.
	Rewrite bool `json:"rewrite,omitempty"`
	// NullSender sends messages with the null sender, which then leave as the
	// mailbox. Default: false.
	NullSender bool `json:"null_sender,omitempty"`

	// Ledger names the upstream that counts what this one sends: the one for
	// SMTP of the same mailboxes, whose limits are then in force, and of whose
	// connections each request is one. Default: this one.
	Ledger string `json:"ledger,omitempty"`
	// MaxConnsPerAccount is the number of requests of a mailbox at a time, at
	// most 4. Default: 4.
	MaxConnsPerAccount int `json:"max_conns_per_account,omitempty"`
	// RatePerAccount limits messages of a mailbox. Default: 30/1m.
	RatePerAccount accounts.Rate `json:"rate_per_account,omitzero"`
	// MessagesPerAccount limits messages of a mailbox in a long period.
	// Default: no limit.
	MessagesPerAccount accounts.Rate `json:"messages_per_account,omitzero"`
	// RecipientsPerAccount limits recipients of a mailbox. Default: 10000/24h.
	RecipientsPerAccount accounts.Rate `json:"recipients_per_account,omitzero"`
	// MaxWait is how long a message waits for its turn. Default: 30s.
	MaxWait caddy.Duration `json:"max_wait,omitempty"`
	// Timeout is how long Graph may take to read on or to answer. Default: 2m.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	*mailapi.Upstream `json:"-"`

	roots   *x509.CertPool
	tokens  grant.Source
	logger  *zap.Logger
	storage certmagic.Storage
}

// providerConcurrency is the requests that Graph serves at a time, for an
// application and a mailbox
// (https://learn.microsoft.com/graph/throttling-limits#outlook-service-limits).
const providerConcurrency = 4

// What Graph takes of an application and a mailbox, in octets of request
// (https://learn.microsoft.com/graph/throttling-limits#outlook-service-limits).
const (
	uploadLimit = 150_000_000
	uploadPer   = 5 * time.Minute
)

// maxRecipients is Exchange's limit of a message, unless the tenant has another
// (https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits).
const maxRecipients = 500

// providerMaxRecipients is the most that a tenant may set (the same page).
const providerMaxRecipients = 1000

// base is the URL of the cloud's Graph.
func (t *Transport) base() (string, error) {
	c, err := mscloud.Find(t.Cloud)
	if err != nil {
		return "", fmt.Errorf("cloud: %w", err)
	}
	logs, _ := t.tokens.(interface{ Cloud(provider string) string })
	if logs == nil || logs.Cloud(t.Provider) == "" {
		return c.Graph, nil
	}
	login, err := mscloud.Find(logs.Cloud(t.Provider))
	switch {
	case err != nil:
		return "", fmt.Errorf("cloud: %w", err)
	case t.Cloud != "" && login.Name != c.Name:
		// Its tokens would be refused there.
		return "", fmt.Errorf("cloud: '%s', and OAuth provider '%s' is of cloud '%s': want the same", t.Cloud, t.Provider, login.Name)
	}
	return login.Graph, nil
}

// fill sets the defaults and checks the rest.
func (t *Transport) fill() error {
	t.Provider = cmp.Or(t.Provider, "microsoft")
	base, err := t.base()
	if err != nil {
		return err
	}
	t.Endpoint = strings.TrimSuffix(cmp.Or(t.Endpoint, base), "/")
	if err := mailapi.CheckEndpoint("endpoint", t.Endpoint); err != nil {
		return err
	}
	t.User = cmp.Or(t.User, "mailbox")
	switch {
	case t.User != "mailbox" && t.User != "me":
		return fmt.Errorf("user: unrecognized '%s': want mailbox or me", t.User)
	case t.User == "me" && t.AppOnly:
		return errors.New("user: an application's own token has no `me`")
	}
	if len(t.Scopes) == 0 {
		t.Scopes = []string{base + "/Mail.Send", "offline_access"}
		if t.AppOnly {
			t.Scopes = []string{base + "/.default"}
		}
	}
	t.MaxSize = cmp.Or(t.MaxSize, 3_000_000)
	t.MaxRecipients = cmp.Or(t.MaxRecipients, maxRecipients)
	t.MaxConnsPerAccount = cmp.Or(t.MaxConnsPerAccount, providerConcurrency)
	t.MaxWait = cmp.Or(t.MaxWait, caddy.Duration(30*time.Second))
	t.Timeout = cmp.Or(t.Timeout, caddy.Duration(2*time.Minute))
	if t.Ledger != "" && (!t.RatePerAccount.IsZero() || !t.MessagesPerAccount.IsZero() || !t.RecipientsPerAccount.IsZero()) {
		return fmt.Errorf("ledger: the limits are those of upstream '%s': set them there", t.Ledger)
	}
	if t.RatePerAccount.IsZero() {
		t.RatePerAccount = accounts.Rate{Count: 30, Per: time.Minute}
	}
	if t.RecipientsPerAccount.IsZero() {
		t.RecipientsPerAccount = accounts.Rate{Count: 10000, Per: 24 * time.Hour}
	}
	switch {
	case t.MaxSize < 0:
		return errors.New("max_size: must not be negative")
	case t.MaxRecipients < 0 || t.MaxRecipients > providerMaxRecipients:
		return fmt.Errorf("max_recipients: want 1 to %d, which is the most that Exchange takes", providerMaxRecipients)
	case t.MaxConnsPerAccount < 0 || t.MaxConnsPerAccount > providerConcurrency:
		return fmt.Errorf("max_conns_per_account: want 1 to %d, which is what Graph serves at a time", providerConcurrency)
	case t.MaxWait < 0:
		return errors.New("max_wait: must not be negative")
	case t.Timeout < 0:
		return errors.New("timeout: must not be negative")
	}
	return nil
}
