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

package mailapi

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/limits"
	"github.com/caddymail/mailgateway/relay"
)

// Upstream is a provider's HTTP API as an upstream. The exported fields are set
// before Bind and not changed after; the functions may be called by several
// messages at a time.
type Upstream struct {
	// Kind is the transport's name.
	Kind string
	// Endpoint is the base URL, for the status. Also are other URLs that are asked.
	Endpoint string
	Also     []string
	// Provider is the OAuth provider, Scopes what a token is asked for.
	Provider string
	Scopes   []string
	// Ledger names the upstream that counts for this one; empty: it counts
	// itself.
	Ledger string
	// Limits are those of a mailbox. MaxConns is the number of requests at a
	// time.
	Limits     accounts.Limits
	MaxWait    time.Duration
	Timeout    time.Duration
	MaxSize    int64
	NullSender bool
	// MaxRecipients is how many recipients a message may have, Upload how much
	// a mailbox's requests may carry in UploadPer, in octets; 0: no limit.
	MaxRecipients int
	Upload        int64
	UploadPer     time.Duration
	Roots         *x509.CertPool
	Storage       certmagic.Storage
	Tokens        grant.Source
	Logger        *zap.Logger

	// URL is where the messages of an account are posted, ContentType what
	// they are posted as.
	URL         func(a *accounts.Account) string
	ContentType string
	// RequestID is the header field that names each request, and in which the
	// provider repeats the name: an answer with another one is not believed.
	// Empty: it has none.
	RequestID string
	// Prepare makes a message fit its envelope, with Fit. The body's error at
	// MaxSize is a reply.
	Prepare func(a *accounts.Account, rcpts []string, body io.Reader) (*Body, *relay.Reply)
	// Read says what an answer means.
	Read func(ans *Answer) Verdict
	// Identity says whose token it is, in whose name the provider would send;
	// nil: the request names the mailbox, and the provider compares. With
	// IdentityAtAPI the question is a request of the mailbox like its messages'.
	Identity      func(ctx context.Context, a *accounts.Account, get Get) (Identity, error)
	IdentityAtAPI bool
	// Probe is a body that no provider sends; Allowed reports whether its
	// refusal is one of the message alone.
	Probe   string
	Allowed func(ans *Answer) bool

	name   string
	shared limiterOwner
	lender limits.Lender
	// uploadLender is the lender of uploads.
	uploadLender limits.Lender
	http         *http.Client

	pinMu sync.Mutex
	pins  map[string]*pin
	warms chan struct{}

	complaints complaints
}

// Get asks the provider something with a token.
type Get func(ctx context.Context, url string) (*Answer, error)

// limiterOwner is an upstream whose limiter others may count with.
type limiterOwner interface {
	// Limiter returns the limiter; nil if it has none yet.
	Limiter() limits.Limiter
}

// CheckEndpoint reports what is wrong with a base URL that requests with access
// tokens go to.
func CheckEndpoint(field, s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.User != nil:
		return fmt.Errorf("%s: malformed URL '%s'", field, s)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("%s: http is for this machine only, since requests carry access tokens", field)
	}
	return nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Bind implements relay.Transport.
func (u *Upstream) Bind(name string) error {
	if u.Tokens == nil || !u.Tokens.HasProvider(u.Provider) {
		return fmt.Errorf("upstream '%s': provider: OAuth provider '%s' is not configured in oauth_tokens", name, u.Provider)
	}
	u.name = name
	u.http = newHTTP(u)
	u.pins = make(map[string]*pin)
	u.warms = make(chan struct{}, maxWarming)
	return nil
}

// Name is the upstream's name.
func (u *Upstream) Name() string { return u.name }

// DependsOn implements relay.Dependent.
func (u *Upstream) DependsOn() []string {
	if u.Ledger == "" {
		return nil
	}
	return []string{u.Ledger}
}

// Join implements relay.Dependent.
func (u *Upstream) Join(siblings map[string]relay.Transport) error {
	if u.Ledger == "" {
		return nil
	}
	owner, ok := siblings[u.Ledger].(limiterOwner)
	if !ok {
		return fmt.Errorf("ledger: upstream '%s' counts nothing", u.Ledger)
	}
	u.shared = owner
	return nil
}

// Counts names the upstream that counts what this one sends.
func (u *Upstream) Counts() string {
	if u.Ledger != "" {
		return u.Ledger
	}
	return u.name
}

// ShareLimits has the mailboxes counted with other nodes'.
func (u *Upstream) ShareLimits(s limits.Sharing) {
	u.lender = s.Lender(u.name)
	if u.Upload > 0 {
		u.uploadLender = s.Lender(uploadsName(u.name))
	}
}

// Limiter returns what counts here.
func (u *Upstream) Limiter() limits.Limiter { return ledgerOf(u.name).limiter(u) }

// Attach implements relay.Transport. Nothing is taken: what a mailbox has used
// belongs to the process, and a message that comes earlier finds it too.
func (u *Upstream) Attach() error {
	ledgerOf(u.name).attach(u)
	return nil
}

// Detach implements relay.Transport. Requests that are under way finish.
func (u *Upstream) Detach() error {
	u.http.CloseIdleConnections()
	ledgerOf(u.name).detach(u)
	return nil
}

// OAuthProvider implements relay.OAuthUser.
func (u *Upstream) OAuthProvider() string { return u.Provider }

// Request is what the token source is asked with.
func (u *Upstream) Request(a *accounts.Account) grant.Request {
	return grant.Request{Provider: u.Provider, Account: a.Name, Mailbox: a.Mailbox, Seed: a.RefreshToken, Scopes: u.Scopes}
}

// Begin implements relay.Upstream. What the provider could refuse of MAIL is
// refused here, before anything is taken.
func (u *Upstream) Begin(ctx context.Context, a *accounts.Account, from string, opts *smtp.MailOptions) (relay.Transaction, error) {
	if reply := u.Carries(from, opts); reply != nil {
		return nil, reply
	}
	p, waited, err := ledgerOf(u.name).enter(ctx, u, a)
	if err != nil {
		return nil, err
	}
	return &transaction{u: u, acct: a, place: p, info: relay.Info{Upstream: u.name, Wait: waited}}, nil
}

// Carries reports what of a message's envelope the API cannot carry.
func (u *Upstream) Carries(from string, opts *smtp.MailOptions) *relay.Reply {
	if from == "" && !u.NullSender {
		return relay.ReplyAPINull
	}
	if opts == nil {
		return nil
	}
	switch {
	case opts.Return != "" || opts.EnvelopeID != "":
		return relay.ReplyAPIDSN
	case opts.Size > u.MaxSize:
		return relay.ReplyAPITooBig(u.MaxSize)
	}
	return nil
}

// Status implements relay.Reporter.
func (u *Upstream) Status() relay.UpstreamStatus {
	st := relay.UpstreamStatus{Name: u.name, Transport: u.Kind, Dial: u.Endpoint, Mechanism: "bearer", Provider: u.Provider}
	ledgerOf(u.name).fill(&st)
	return st
}

// AccountStatus implements relay.Reporter.
func (u *Upstream) AccountStatus(a *accounts.Account) relay.AccountStatus {
	st := relay.AccountStatus{Account: a.Name, Upstream: u.name}
	ledgerOf(u.name).account(u, a, &st)
	return st
}

// Interface guards
var (
	_ relay.Transport = (*Upstream)(nil)
	_ relay.Dependent = (*Upstream)(nil)
	_ relay.OAuthUser = (*Upstream)(nil)
	_ relay.Reporter  = (*Upstream)(nil)
	_ relay.Verifier  = (*Upstream)(nil)
	_ relay.Warmer    = (*Upstream)(nil)
	_ relay.Reacher   = (*Upstream)(nil)
)
