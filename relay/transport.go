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

// Transport is what a module in the namespace `smtp_upstreams.transports` is:
// one kind of upstream. Everything else that a transport or its transactions
// may do is an optional interface of this file.
//
// What a positive reply means is the transport's to document. Over SMTP it is
// the provider's 250: the provider has the message and answers for it. Over
// an HTTP API it is the answer that the API gives for a message that it took
// (202 of Microsoft Graph, 200 of Gmail), after which refused recipients and
// limits come back as reports in the mailbox.
type Transport interface {
	Upstream

	// Bind is called once, after Provision, with the upstream's name. It
	// checks what needs the name, and like Provision it changes nothing
	// outside of the module.
	Bind(name string) error
	// Attach makes the configuration effective; Detach gives back exactly
	// what Attach took. They are not called Start and Stop because Caddy
	// takes every module with methods of these names for an app, and would
	// start it on its own too.
	Attach() error
	Detach() error
}

// Dependent is an optional interface of a Transport that sends through other
// upstreams, which it knows by name: in front of one, or instead of one.
type Dependent interface {
	// DependsOn names the upstreams that it needs. It is asked after Bind.
	// A name that is not configured, and a circle of names, are errors of
	// the configuration.
	DependsOn() []string
	// Join is called once, after every upstream is bound, and gives it what
	// it asked for. The upstreams are attached before it is, and detached
	// after.
	Join(siblings map[string]Transport) error
}

// AccountUser is an optional interface of an Upstream that sends on its own
// account, when no client waits: it is given the way to find the accounts as
// they are then. It is called when a configuration's accounts have started.
type AccountUser interface {
	UseAccounts(lookup func(name string) (*accounts.Account, bool))
}

// AccountFollower is an optional interface of an Upstream that keeps something open
// for accounts. AccountsChanged is called when some of them have changed, been paused
// or are gone; certain is false where known can't say without asking somebody. It
// does not wait for anything.
type AccountFollower interface {
	AccountsChanged(known func(name string) (a *accounts.Account, certain bool))
}

// Front is the clients' side of a gateway.
type Front interface {
	// HandOn has clients connect again, to another node, until it is called with
	// false.
	HandOn(on bool)
	// SessionCount is the number of clients' sessions.
	SessionCount() int
}

// FrontUser is an optional interface of an Upstream whose other nodes may ask for
// the clients of this one. It is called when a configuration starts.
type FrontUser interface {
	UseFront(f Front)
}

// Warmer is an optional interface of an Upstream. Warm prepares what the
// account's next transaction will need (its access token) and does not wait.
type Warmer interface {
	Warm(a *accounts.Account)
}

// SingleFlight is an optional interface of an Upstream that sends a message
// with a single recipient as one flight: MAIL, RCPT and the body together,
// one round trip. It serves servers with `envelope deferred`, and clients that
// send all of it at once themselves: Info.Refused says which of their commands an
// error answers.
type SingleFlight interface {
	Send(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions, to Recipient, body io.Reader) (Reply, Info, error)
}

// Introducer is an optional interface of a Transport that says a host name to
// its provider. IntroduceAs is called before Attach with the name of the `smtp`
// app's servers: what an upstream without a name of its own says.
type Introducer interface {
	IntroduceAs(hostname string)
}

// Proxied is implemented by transports that may reach their provider through a
// proxy.
type Proxied interface {
	// ViaProxy reports whether this one does, so that a connection made
	// without it says nothing.
	ViaProxy() bool
}

// Reacher is an optional interface of a Transport that can ask whether its provider
// answers, in its own manner and on its own way, without a login.
type Reacher interface {
	Reach(ctx context.Context) (said string, err error)
}

// OAuthUser is an optional interface of a Transport that logs in with access
// tokens.
type OAuthUser interface {
	// OAuthProvider returns the name of the provider in `oauth_tokens`; empty
	// if none is used.
	OAuthProvider() string
}

// Reporter is an optional interface of a Transport.
type Reporter interface {
	Status() UpstreamStatus
	AccountStatus(a *accounts.Account) AccountStatus
}

// Drainer is an optional interface of a Transport. Drain closes every idle
// connection, and the others after their message; new ones are opened as
// needed.
type Drainer interface {
	Drain()
}

// Verifier is an optional interface of a Transport. Verify tries the way of a
// message of the account without sending one, as far as the provider allows
// that; from is a sender to try as well, or empty. Each step is reported when
// it is over; the error is the failed one's.
type Verifier interface {
	Verify(ctx context.Context, a *accounts.Account, from string, step func(VerifyStep)) error
}

// RcptBatcher is an optional interface of a Transaction that sends several
// recipients in one flight. The errors stand in the order of the recipients.
type RcptBatcher interface {
	RcptBatch(ctx context.Context, rcpts []Recipient) []error
}

// Holder is an optional interface of a Transaction that holds something which
// others may wait for, such as a connection to the provider.
type Holder interface {
	// Wanted reports whether the transaction is to end if its client does
	// nothing for it: others wait for what it holds, or that is gone already.
	// It is called as the other methods are, and within Data by the body's
	// Read.
	Wanted() bool
}

// Watched is an optional interface of a body that is given to Send, which begins
// the transaction itself. It is told what is held while the rest of it is read:
// not of a message that was read before anything was taken.
type Watched interface {
	Watch(h Holder)
}

// Watch tells a body what is held while it is read.
func Watch(body io.Reader, h Holder) {
	if w, ok := body.(Watched); ok {
		w.Watch(h)
	}
}

// Describer is an optional interface of a Transaction: what the access log
// says of it.
type Describer interface {
	Describe() Info
}

// Spooler is an optional interface of an Upstream that can keep what it cannot
// send now. The mode is that of accounts that have none of their own: `on`, or
// `always` for those whose clients do not wait for the provider.
type Spooler interface {
	Spooled(mode string) (Upstream, error)
}

// Spool is an optional interface of a Transport that keeps mail and sends it
// later. Always is the same spool for clients that do not wait for the provider.
type Spool interface {
	Transport
	Always() Upstream
}

type maxWaitKey struct{}

// WithMaxWait marks what waits no longer than this for a connection and its slots,
// though what it does with them may take its time.
func WithMaxWait(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, maxWaitKey{}, d)
}

// MaxWait returns how long a message waits that may wait as long as own by its
// upstream.
func MaxWait(ctx context.Context, own time.Duration) time.Duration {
	if d, ok := ctx.Value(maxWaitKey{}).(time.Duration); ok {
		return min(d, own)
	}
	return own
}

type protocolKey struct{}

// WithProtocol says how a message comes in, as a Received line has it (RFC 3848):
// ESMTPSA is with TLS and a login.
func WithProtocol(ctx context.Context, with string) context.Context {
	return context.WithValue(ctx, protocolKey{}, with)
}

// Protocol returns what WithProtocol said, or nothing.
func Protocol(ctx context.Context) string {
	with, _ := ctx.Value(protocolKey{}).(string)
	return with
}

type behindKey struct{}

// Behind marks what is sent for no client that waits: it stands behind the
// account's other mail, and waits for no slot of a limit.
func Behind(ctx context.Context) context.Context {
	return context.WithValue(ctx, behindKey{}, true)
}

// IsBehind reports whether Behind marked the context.
func IsBehind(ctx context.Context) bool {
	behind, _ := ctx.Value(behindKey{}).(bool)
	return behind
}
