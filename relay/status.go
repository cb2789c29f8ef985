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

package relay

import (
	"time"

	"github.com/caddymail/mailgateway/accounts"
)

// ConnCounts are numbers of connections by state.
type ConnCounts struct {
	Idle    int `json:"idle"`
	Busy    int `json:"busy"` // closing ones included
	Opening int `json:"opening"`
}

// UpstreamStatus is what is known of one upstream. It holds no account's name
// and no secret.
type UpstreamStatus struct {
	Name      string `json:"name"`
	Transport string `json:"transport"`
	Dial      string `json:"dial,omitempty"`
	TLS       string `json:"tls,omitempty"`
	Mechanism string `json:"mechanism,omitempty"`
	Provider  string `json:"provider,omitempty"`

	Connections ConnCounts `json:"connections"`
	MaxConns    int64      `json:"max_conns,omitempty"`
	// Waiting is the number of messages that wait for quota or a connection.
	Waiting int `json:"waiting"`
	// Accounts is the number of accounts with connections or counts.
	Accounts int `json:"accounts"`
	// Breaker is `closed`, `open` or `half_open`.
	Breaker string `json:"breaker,omitempty"`
	// Refused is the provider's refusal of the last connection, with its greeting or
	// before a login; empty if it took it, or could not be reached.
	Refused string `json:"refused,omitempty"`
}

// AccountStatus is what is known of one account at its upstream.
type AccountStatus struct {
	Account     string     `json:"account"`
	Upstream    string     `json:"upstream"`
	Connections ConnCounts `json:"connections"`
	Waiting     int        `json:"waiting"`
	// MaxConns is the configured limit, Concurrency what the provider leaves
	// of it for now.
	MaxConns    int `json:"max_conns"`
	Concurrency int `json:"concurrency"`
	// LoginsResume is when the next login is tried after a refused one.
	LoginsResume *time.Time `json:"logins_resume,omitempty"`
	// LastError is the last reply that kept a connection from being opened.
	LastError string        `json:"last_error,omitempty"`
	Limits    []LimitStatus `json:"limits,omitempty"`
	// Ways are the upstreams of an account that has several, in the order in
	// which they are preferred; the counts are those of the one that is taken.
	Ways []WayStatus `json:"ways,omitempty"`
}

// WayStatus is one of an account's upstreams.
type WayStatus struct {
	Upstream string `json:"upstream"`
	// Taken reports whether messages leave through it now.
	Taken bool `json:"taken"`
	// Closed is what the provider said when it closed the way to the mailbox.
	Closed string `json:"closed,omitempty"`
}

// LimitStatus is one counted limit.
type LimitStatus struct {
	// Counts is `messages` or `recipients`.
	Counts    string        `json:"counts"`
	Limit     accounts.Rate `json:"limit"`
	Used      int64         `json:"used"`
	Remaining int64         `json:"remaining"`
	// NextFree is when the next slot is free if none is now.
	NextFree *time.Time `json:"next_free,omitempty"`
}

// VerifyStep is one step of a trial login.
type VerifyStep struct {
	// Name is, before the provider is asked, `account`, `sender` or `limits`; then `dns`, `tcp`, `tls`, `greeting`, `ehlo`, `starttls`, `token`,
	// `auth`, `mail` or `quit`. An HTTP API has `identity` (whose the token is)
	// and `api`, and where several ways are there `choice` names the one that is
	// tried next.
	Name string `json:"name"`
	// Way is the upstream that the step was taken at, where an account has
	// several; of the last step, `choice`, the one that messages leave through.
	Way string `json:"way,omitempty"`
	// Took is how long it took, in nanoseconds.
	Took time.Duration `json:"took"`
	// Said is what the other side said, or what was learned of it. It holds
	// no secret.
	Said string `json:"said,omitempty"`
	// Challenge is the decoded error challenge of a refused login.
	Challenge string `json:"challenge,omitempty"`
	// Error is empty if the step succeeded.
	Error string `json:"error,omitempty"`
}
