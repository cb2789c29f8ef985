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

package ldap

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/ondemand"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/jsonfield"
	"github.com/caddymail/mailgateway/internal/loggers"
)

// Source reads accounts from a directory, an entry when its name is asked for,
// and has the directory check passwords. It is registered where the Caddyfile is
// known, in caddymodule.
type Source struct {
	// Servers are the directory's servers, all with the same entries: the first
	// that answers is asked. `ldaps://HOST`, `ldap://HOST` with StartTLS, or
	// `ldapi:///PATH`.
	Servers []string `json:"servers,omitempty"`

	// StartTLS demands StartTLS of servers that are `ldap://`. Without, they have
	// to be on this machine.
	StartTLS bool `json:"starttls,omitempty"`

	// InsecurePlaintext sends passwords in the clear to servers elsewhere: whoever
	// sees the network has them.
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`

	// TrustPoolRaw is the trust pool of the servers' certificates. Default: the
	// system's.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// BindDN is the user that looks entries up. Default: none, entries are read
	// anonymously.
	BindDN string `json:"bind_dn,omitempty"`

	// BindPassword is its password; placeholders are resolved.
	BindPassword string `json:"bind_password,omitempty"`

	// Base is the DN beneath which entries are looked for.
	Base string `json:"base,omitempty"`

	// Scope is how far: `sub`, or `one` level. Default: `sub`.
	Scope string `json:"scope,omitempty"`

	// Filter finds the entry of a name, `{name}`, which is compared as a whole.
	// With `user_dn` it says which entries are accounts, and needs no name.
	// Default: `(mail={name})`, with `user_dn` `(objectClass=*)`.
	Filter string `json:"filter,omitempty"`

	// UserDN is the DN of a name, as in `uid={name},ou=people,dc=example,dc=com`:
	// nothing is searched for.
	UserDN string `json:"user_dn,omitempty"`

	// GroupBase is the DN beneath which groups are. Default: that of entries.
	GroupBase string `json:"group_base,omitempty"`

	// GroupFilter has to find a group, of an entry `{dn}` or a `{name}`, as in
	// `(&(cn=mail)(member={dn}))`. Default: entries need no group.
	GroupFilter string `json:"group_filter,omitempty"`

	// Attributes are those by the field of the account that they hold, as columns
	// are in a table: `upstream`, `mailbox`, `refresh_token`, `secret`,
	// `senders`, `max_conns`, `rate`, `messages`, `recipients`, `source_ip`,
	// `spool`, `reports`, `paused`, `active` (the contrary). Default: none; the
	// mailbox is the name.
	Attributes map[string]string `json:"attributes,omitempty"`

	// Changed are the attributes whose change says that the password is another
	// one. Default: `pwdChangedTime`, `pwdLastSet`, `krbLastPwdChange` and
	// `sambaPwdLastSet`; for entries without, `entryCSN`, `modifyTimestamp` and
	// `whenChanged`, which tell of any change.
	Changed []string `json:"changed,omitempty"`

	// Upstream is that of accounts whose entry has none.
	Upstream string `json:"upstream,omitempty"`

	// MaxConns is the number of connections to read entries, and that of those to
	// check passwords. Default: 8.
	MaxConns int `json:"max_conns,omitempty"`

	// Timeout bounds one question to a server. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Remember is how long a right password is not asked for again, while its
	// entry says that it is the same. Default: 5m.
	Remember caddy.Duration `json:"remember,omitempty"`

	// CacheSize is the number of accounts that are held in memory. Default: 10000.
	CacheSize int `json:"cache_size,omitempty"`

	// Fresh is how long an account is held before its entry is read again: how
	// long a session goes on whose password was changed, whose entry is gone or
	// left the group. Default: 1m.
	Fresh caddy.Duration `json:"fresh,omitempty"`

	// Stale is how long an account is held while the directory does not answer.
	// Default: 1h.
	Stale caddy.Duration `json:"stale,omitempty"`

	// Negative is how long a name is not looked for again after a login that was
	// refused: because no entry has it, or because of the password. Default: 10s.
	Negative caddy.Duration `json:"negative,omitempty"`

	roots *x509.CertPool
	ondemand.Member
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Source) UnmarshalJSON(b []byte) error { return jsonfield.Decode(b, s) }

// Provision checks the configuration. The directory is not asked: accounts that
// cannot be read yet are a problem, and hold up nothing else.
func (s *Source) Provision(ctx caddy.Context) error {
	raw := append(json.RawMessage(nil), s.TrustPoolRaw...)
	if raw != nil {
		mod, err := ctx.LoadModule(s, "TrustPoolRaw")
		if err != nil {
			return fmt.Errorf("accounts ldap: field 'trust_pool': %w", err)
		}
		ca, ok := mod.(caddytls.CA)
		if !ok {
			return errors.New("accounts ldap: field 'trust_pool': it is no pool of certificates")
		}
		s.roots, s.TrustPoolRaw = ca.CertPool(), raw
	}
	if err := s.provision(loggers.Process("smtp.accounts.ldap")); err != nil {
		return fmt.Errorf("accounts ldap: %w", err)
	}
	return nil
}

// provision takes a logger that outlives the configuration.
func (s *Source) provision(logger *zap.Logger) error {
	own := *s
	if err := own.complete(); err != nil {
		return err
	}
	read, err := own.reader(logger)
	if err != nil {
		return err
	}
	return s.Share("ldap", &own, s.roots, func() (ondemand.Shared, error) {
		cache := ondemand.New(s.Name(), read, own.bounds().Options(batch, own.MaxConns), logger)
		cache.Index().Costs(password.ProfileOf([]*password.Hash{password.ExternalHash("", &read.outside)}))
		return ondemand.Shared{
			Cache:  cache,
			Reload: read.pool.login.forget,
			Close: func() {
				read.pool.close()
				read.checker.pool.close()
			},
		}, nil
	})
}

// Name implements accounts.Source.
func (s *Source) Name() string {
	if s.Base == "" {
		return "ldap"
	}
	return "ldap " + s.Base
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ accounts.Source    = (*Source)(nil)
	_ accounts.Loader    = (*Source)(nil)
	_ accounts.Reloader  = (*Source)(nil)
)
