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

package accounts

import (
	"encoding/json"
	"fmt"

	"go.uber.org/zap/zapcore"

	"github.com/caddymail/mailgateway/accounts/password"
)

// View is an account as it may be shown: everything but the secrets. It is
// the object of the admin API.
type View struct {
	Name     string `json:"name"`
	Upstream string `json:"upstream"`
	Mailbox  string `json:"mailbox"`
	// Passwords counts the password hashes by algorithm: `argon2id`,
	// `bcrypt`, `sha256`.
	Passwords map[string]int `json:"passwords,omitempty"`
	// HasRefreshToken reports whether a refresh token is configured.
	HasRefreshToken bool `json:"has_refresh_token"`
	// HasSecret reports whether a password at the provider is configured.
	HasSecret bool              `json:"has_secret"`
	Senders   []string          `json:"senders,omitempty"`
	Limits    *Limits           `json:"limits,omitempty"`
	SourceIP  string            `json:"source_ip,omitempty"`
	Spool     string            `json:"spool,omitempty"`
	Reports   string            `json:"reports,omitempty"`
	Paused    bool              `json:"paused"`
	Labels    map[string]string `json:"labels,omitempty"`
	Source    string            `json:"source,omitempty"`
}

// Redacted returns the account without its secrets.
func (a *Account) Redacted() View {
	v := a.Record.Redacted()
	v.Source = a.Source
	return v
}

// Redacted returns the record without its secrets.
func (r Record) Redacted() View {
	v := View{
		Name:            r.Name,
		Upstream:        r.Upstream,
		Mailbox:         r.Mailbox,
		HasRefreshToken: r.RefreshToken != "",
		HasSecret:       r.Secret != "",
		Senders:         r.Senders,
		Limits:          r.Limits,
		SourceIP:        r.SourceIP,
		Spool:           r.Spool,
		Reports:         r.Reports,
		Paused:          r.Paused,
		Labels:          r.Labels,
	}
	for _, s := range r.PasswordHashes {
		if v.Passwords == nil {
			v.Passwords = make(map[string]int, 1)
		}
		v.Passwords[password.Algorithm(s)]++
	}
	return v
}

// String returns the name and the upstream.
func (r Record) String() string {
	return fmt.Sprintf("account %q (upstream %q)", r.Name, r.Upstream)
}

// Format implements fmt.Formatter, so that no verb shows a secret.
func (r Record) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(r.String()))
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (r Record) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("name", r.Name)
	enc.AddString("upstream", r.Upstream)
	if r.Mailbox != "" && r.Mailbox != r.Name {
		enc.AddString("mailbox", r.Mailbox)
	}
	if r.Paused {
		enc.AddBool("paused", true)
	}
	return nil
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (a *Account) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if err := a.Record.MarshalLogObject(enc); err != nil {
		return err
	}
	enc.AddString("source", a.Source)
	return nil
}

// MarshalJSON returns the account without its secrets. Record marshals with
// them: it is what sources keep.
func (a *Account) MarshalJSON() ([]byte, error) { return json.Marshal(a.Redacted()) }

// Interface guards
var (
	_ fmt.Formatter           = Record{}
	_ zapcore.ObjectMarshaler = Record{}
	_ zapcore.ObjectMarshaler = (*Account)(nil)
	_ json.Marshaler          = (*Account)(nil)
)
