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
	"net/netip"
	"sync/atomic"

	"github.com/caddymail/mailgateway/accounts/password"
)

// Record is one account as it is configured: a line of an accounts file, an
// inline account, or the object of the admin API.
type Record struct {
	// Name is what the client logs in with, usually a mail address. Names
	// are compared without regard to ASCII case.
	Name string `json:"name"`

	// Upstream is the name of the upstream that carries the account's mail.
	Upstream string `json:"upstream"`

	// Mailbox is the identity at the provider (`user=` in XOAUTH2).
	// Default: the name.
	Mailbox string `json:"mailbox,omitempty"`

	// PasswordHashes holds the accepted passwords: argon2id or bcrypt as
	// `caddy hash-password` prints them, or `sha256:` and the hex digest
	// of a generated password. An account without one cannot log in.
	PasswordHashes []string `json:"password_hashes,omitempty"`

	// RefreshToken is the seed of the account's OAuth tokens. It is
	// write-only: nothing shows it again.
	RefreshToken string `json:"refresh_token,omitempty"`

	// Secret is the password at the provider, for upstreams that use
	// PLAIN or LOGIN. It is write-only too.
	Secret string `json:"secret,omitempty"`

	// Senders narrows what MAIL FROM may say: addresses, `*@domain`, or
	// `*`. Default: anything; the provider decides. The null sender is
	// always allowed.
	Senders []string `json:"senders,omitempty"`

	// Limits narrows the upstream's limits for this account.
	Limits *Limits `json:"limits,omitempty"`

	// SourceIP is the local address of the account's upstream
	// connections. Default: the upstream's.
	SourceIP string `json:"source_ip,omitempty"`

	// Spool keeps what the provider does not take now and sends it later: `on`,
	// `always` (250 at once, without waiting for the provider) or `off`.
	// Default: the server's.
	Spool string `json:"spool,omitempty"`

	// Reports is the address that is told of kept messages that could not be
	// delivered. Default: the spool's, or the message's sender.
	Reports string `json:"reports,omitempty"`

	// Paused refuses the account's logins and messages.
	Paused bool `json:"paused,omitempty"`

	// Labels are the operator's own; nothing depends on them.
	Labels map[string]string `json:"labels,omitempty"`
}

// Values of a record's Spool, and of a server's.
const (
	SpoolOn     = "on"
	SpoolAlways = "always"
	SpoolOff    = "off"
)

// Limits are one account's own limits, as the provider counts them. A zero
// field leaves the upstream's limit in force.
type Limits struct {
	// MaxConns is the number of upstream connections at a time.
	MaxConns int `json:"max_conns,omitempty"`
	// Rate is the number of messages in a period, as in `30/1m`.
	Rate Rate `json:"rate,omitzero"`
	// Messages is the number of messages in a long period, as in `2000/24h`.
	Messages Rate `json:"messages,omitzero"`
	// Recipients is the number of recipients in a long period, as in `10000/24h`.
	Recipients Rate `json:"recipients,omitzero"`
}

// Account is a record that has been checked and compiled. It is immutable and
// shared: a change of the record makes a new Account.
//
// Formatting, JSON and zap show an Account without its secrets; the fields
// themselves hold them.
type Account struct {
	// Record is the record as it was configured, but for the mailbox,
	// which is filled in, and placeholders, which are resolved.
	Record

	// Source names where the account comes from: `inline`, `file` and its
	// path, `dynamic`.
	Source string

	key      string // the folded name: what the indexes go by
	hashes   []*password.Hash
	profile  *password.Profile // what a failed login costs
	senders  []senderPattern
	sourceIP netip.Addr
	revision string // of a dynamic record
	// born tells records of one name apart that were there one after the
	// other. The index sets it before the account can be found.
	born birth
	made uint64 // in the order in which records were read; 0 of none that was
}

// made counts the records that were read.
var made atomic.Uint64

// Before reports whether the record was read before another: of two that one
// account has had, which is the older.
func (a *Account) Before(b *Account) bool { return a.made != 0 && a.made < b.made }

// birth is written at most once more after an account can be found, with what
// it holds already. It is no atomic.Uint64, since accounts are copied before.
type birth uint64

// Load returns the number.
func (b *birth) Load() uint64 { return atomic.LoadUint64((*uint64)(b)) }

func (b *birth) store(n uint64) { atomic.StoreUint64((*uint64)(b), n) }

// Key returns the name with its ASCII letters in lower case: two names are the
// same account exactly when their keys are equal.
func (a *Account) Key() string {
	if a.key == "" {
		return FoldName(a.Name)
	}
	return a.key
}

// SourceAddr returns the local address of the account's upstream connections;
// it is not valid where the upstream's is to be used.
func (a *Account) SourceAddr() netip.Addr { return a.sourceIP }

// Stored returns the account with the revision that its source keeps with the
// record: that is its version.
func (a *Account) Stored(revision string) *Account {
	c := *a
	c.revision = revision
	return &c
}

// Outside returns the account with a password that another program checks. The
// text is as password.ExternalHash has it.
func (a *Account) Outside(text string, o *password.Outside) *Account {
	c := *a
	c.hashes = []*password.Hash{password.ExternalHash(text, o)}
	c.profile = password.ProfileOf(c.hashes)
	return &c
}

// Revision is what Stored was given.
func (a *Account) Revision() string { return a.revision }
