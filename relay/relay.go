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
	"context"
	"io"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/accounts"
)

// Upstream sends mail for accounts.
//
// Every error that an Upstream or a Transaction returns is a *Reply that the
// client may be told, or wraps one; anything else is answered with
// ReplyInternal.
type Upstream interface {
	// Begin reserves what one message needs (a connection, quota) and opens
	// a transaction. It waits no longer than the upstream's max_wait. The
	// MAIL command itself leaves together with the first RCPT.
	Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (Transaction, error)
}

// Transaction is one message on its way. It is used by one goroutine at a time.
type Transaction interface {
	// Rcpt adds a recipient. The error is the provider's reply to it; the
	// first call carries MAIL too, and the provider's refusal of MAIL is
	// the answer to every recipient.
	Rcpt(ctx context.Context, to string, opts *smtp.RcptOptions) error

	// Data sends the message and returns the provider's final word, which
	// is positive (2yz) exactly when err is nil. A body whose Read fails
	// with anything but io.EOF leaves no message behind.
	Data(ctx context.Context, body io.Reader) (reply Reply, err error)

	// Abort gives everything back. It is safe at any time, and idempotent;
	// after Data it does nothing.
	Abort()
}

// Recipient is one forward path with its parameters.
type Recipient struct {
	To   string
	Opts smtp.RcptOptions
}

// Info is what is known of a transaction besides its replies.
type Info struct {
	// Upstream is the configured name.
	Upstream string
	// Reused reports whether the connection had carried a message before.
	Reused bool
	// Wait is the time spent waiting for quota or a free connection.
	Wait time.Duration
	// Token is the time spent waiting for an access token.
	Token time.Duration
	// Dial is the time spent connecting, with TLS and authentication.
	Dial time.Duration
	// Envelope is the time the provider took to answer the envelope.
	Envelope time.Duration
	// Data is the time from the first body byte to the final reply.
	Data time.Duration

	// Refused reports whether a message that was sent as one flight ended
	// before its recipient was accepted: the error answers RCPT, not the message.
	Refused bool

	// Spooled is the id of a message that was kept to be sent later.
	Spooled string

	// What follows is for tracing, and may be missing.

	// Waited is how long the message waited for quota and a connection,
	// with the opening of one, and Got when it had them. Zero if it did not
	// have to wait.
	Waited time.Duration
	Got    time.Time
	// Opening is when the connection was opened, if it had carried no
	// message before. That may have been for another message, before this
	// one came.
	Opening *Opening
}

// Opening is when a connection was opened.
type Opening struct {
	// Token is when the access token was asked for; zero without one.
	Token time.Time
	// Dial is when the connection was begun, with the token there.
	Dial time.Time
	// Ready is when it was logged in.
	Ready time.Time
}
