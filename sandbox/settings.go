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

package sandbox

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/sandbox/authority"
)

// settings is a configuration with its defaults filled in. It is immutable;
// a reload replaces the whole.
type settings struct {
	app           *App
	profile       *profile
	maxSize       int64
	rtt           time.Duration
	tokenLifetime time.Duration
	tokenSize     int
	clients       map[string]string
	keys          map[string]crypto.PublicKey
	maxConns      int
	perMinute     int
	gmailUnits    int
	limitAtData   bool
	keep          int
	ehloPlain     string
	ehloTLS       string
}

const (
	defaultKeepMessages = 10000
	maxTokenSize        = 8192
)

func newSettings(a *App) (*settings, error) {
	st := &settings{
		app:           a,
		maxSize:       a.MaxSize,
		rtt:           time.Duration(a.RTT),
		tokenLifetime: time.Duration(a.TokenLifetime),
		tokenSize:     a.TokenSize,
		clients:       a.Clients,
		keys:          make(map[string]crypto.PublicKey),
		maxConns:      a.MaxConnsPerMailbox,
		perMinute:     a.MessagesPerMinute,
		gmailUnits:    cmp.Or(a.GmailUnitsPerMinute, gmailUnits),
		keep:          a.KeepMessages,
	}
	for _, f := range []struct{ name, address string }{{"smtp", a.SMTP}, {"smtps", a.SMTPS}, {"http", a.HTTP}} {
		if f.address == "" {
			continue
		}
		if err := form.Listen.Check(f.address); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for mailbox, token := range a.Mailboxes {
		if err := form.Text.Check(mailbox); err != nil || mailbox == "" || token == "" {
			return nil, fmt.Errorf("mailboxes '%s': %w", mailbox, cmp.Or(err, errors.New("a mailbox and its refresh token are wanted")))
		}
	}
	name := a.Profile
	if name == "" {
		name = "generic"
	}
	if st.profile = profiles[name]; st.profile == nil {
		return nil, fmt.Errorf("unrecognized profile '%s': want generic, google or microsoft", a.Profile)
	}
	switch a.ConnLimitAt {
	case "", "auth":
	case "data":
		st.limitAtData = true
	default:
		return nil, fmt.Errorf("unrecognized conn_limit_at '%s': want auth or data", a.ConnLimitAt)
	}
	for field, n := range map[string]int64{
		"rtt": int64(a.RTT), "token_lifetime": int64(a.TokenLifetime), "token_delay": int64(a.TokenDelay),
		"token_size": int64(a.TokenSize), "max_size": a.MaxSize, "keep_messages": int64(a.KeepMessages),
		"logins_per_minute": int64(a.LoginsPerMinute), "recipients_per_day": int64(a.RecipientsPerDay),
		"idle_timeout": int64(a.IdleTimeout),
	} {
		if n < 0 {
			return nil, fmt.Errorf("%s: must not be negative", field)
		}
	}
	if a.TokenSize > maxTokenSize {
		return nil, fmt.Errorf("token_size: at most %d", maxTokenSize)
	}
	if st.maxSize == 0 {
		st.maxSize = st.profile.maxSize
	}
	if st.tokenLifetime == 0 {
		st.tokenLifetime = time.Hour
	}
	if len(st.clients) == 0 {
		st.clients = map[string]string{"sandbox": "sandbox-secret"}
	}
	if name == "microsoft" {
		// Microsoft's published limits; -1 turns one off.
		if st.maxConns == 0 {
			st.maxConns = 3
		}
		if st.perMinute == 0 {
			st.perMinute = 30
		}
	}
	if st.keep == 0 {
		st.keep = defaultKeepMessages
	}
	for issuer, file := range a.AssertionKeys {
		key, err := authority.LoadPublicKey(file)
		if err != nil {
			return nil, fmt.Errorf("assertion_keys '%s': %v", issuer, err)
		}
		st.keys[issuer] = key
	}
	for i := range a.Faults {
		if err := a.Faults[i].Validate(); err != nil {
			return nil, fmt.Errorf("fault %d: %v", i, err)
		}
	}
	st.ehloPlain, st.ehloTLS = st.ehlo(false), st.ehlo(true)
	return st, nil
}
