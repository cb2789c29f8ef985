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
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// Identity is whose a token is.
type Identity struct {
	// Subject is what the provider never gives to another user. Source is where it
	// is from, if from elsewhere than usual: it may have another form there.
	Subject, Source string
	// Addresses are those that the user's mailbox may be known by.
	Addresses []string
	// Own: the mailbox is the user's, whatever the addresses.
	Own bool
}

// is reports whether the mailbox is the user's.
func (i *Identity) is(mailbox string) bool {
	return i.Own || slices.ContainsFunc(i.Addresses, func(s string) bool { return strings.EqualFold(s, mailbox) })
}

// pin is what is known of a mailbox's tokens.
type pin struct {
	subject, source string

	token [sha256.Size]byte // the last one that was its own
}

var (
	errForeign = errors.New("the access token is another user's")
	// ErrNoIdentity says that the provider does not tell whose a token is.
	ErrNoIdentity = errors.New("the provider does not say whose the token is")
	// ErrTokenRefused says that the provider refused the token that it was asked about,
	// ErrWantsUser that it would refuse any until the user has logged in.
	ErrTokenRefused = errors.New("the provider refused the access token")
	ErrWantsUser    = errors.New("a policy wants the user to log in again")
)

// identify makes sure that a token is the mailbox's own, before anything is
// sent with it. refused: the token is no good, and another one may be.
func (u *Upstream) identify(ctx context.Context, a *accounts.Account, token *oauth2.Token) (reply *relay.Reply, refused bool) {
	if u.Identity == nil {
		return nil, false
	}
	_, err := u.whose(ctx, a, token)
	switch {
	case err == nil:
		return nil, false
	case errors.Is(err, errForeign):
		u.Logger.Error("nothing is sent: the access token is another user's",
			zap.String("upstream", u.name), zap.String("account", a.Name), zap.Error(err))
		return relay.ReplyAPIForeign, false
	}
	u.Logger.Warn("nothing is sent: it is not known whose the access token is",
		zap.String("upstream", u.name), zap.String("account", a.Name), zap.Error(err))
	switch {
	case errors.Is(err, ErrNoIdentity):
		return relay.ReplyAPINobody, false
	case errors.Is(err, ErrTokenRefused):
		return relay.ReplyAPIWantsUser("HTTP 401"), true
	case errors.Is(err, ErrWantsUser):
		return relay.ReplyAPIWantsUser("insufficient_claims"), false
	}
	return relay.ReplyAPIWhose, false
}

// whose asks whose a token is, once for each token, and compares that with the
// mailbox and with what earlier tokens said.
func (u *Upstream) whose(ctx context.Context, a *accounts.Account, token *oauth2.Token) (string, error) {
	key, sum := boxKey(a), sha256.Sum256([]byte(token.AccessToken))
	u.pinMu.Lock()
	known := u.pins[key]
	u.pinMu.Unlock()
	if known != nil && known.token == sum {
		return "known", nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	id, err := u.Identity(ctx, a, func(ctx context.Context, url string) (*Answer, error) {
		return u.do(ctx, request{method: http.MethodGet, url: url, token: token})
	})
	switch {
	case err != nil:
		return "", err
	case id.Subject == "" || len(id.Addresses) == 0:
		return "", ErrNoIdentity
	case !id.is(a.Mailbox):
		return "", fmt.Errorf("%w: '%s', and the mailbox is '%s'", errForeign, id.Addresses[0], a.Mailbox)
	case known != nil && known.source == id.Source && known.subject != id.Subject:
		return "", fmt.Errorf("%w: the address '%s' belongs to another user than before", errForeign, id.Addresses[0])
	}
	u.pinMu.Lock()
	u.pins[key] = &pin{subject: id.Subject, source: id.Source, token: sum}
	u.pinMu.Unlock()
	return id.Addresses[0], nil
}

const (
	maxWarming = 64
	// warmTimeout bounds what is fetched ahead.
	warmTimeout = time.Minute
)

// Warm implements relay.Warmer: it fetches the token that the account's next
// message will need.
func (u *Upstream) Warm(a *accounts.Account) {
	select {
	case u.warms <- struct{}{}:
	default: // the message itself will fetch it
		return
	}
	go func() {
		defer func() { <-u.warms }()
		ctx, cancel := context.WithTimeout(context.Background(), warmTimeout)
		defer cancel()
		// The message that needs it will hear of a failure. It has a place at the
		// API, which a question ahead has not.
		if token, reply := u.token(ctx, u.Request(a)); reply == nil && u.Identity != nil && !u.IdentityAtAPI {
			_, _ = u.whose(ctx, a, token)
		}
	}()
}
