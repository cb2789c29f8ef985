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
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/relay"
)

// Verify implements relay.Verifier: a fresh token, whose it is, and a request
// that cannot become a message, whose refusal shows that another would be taken.
func (u *Upstream) Verify(ctx context.Context, a *accounts.Account, from string, step func(relay.VerifyStep)) error {
	begin := time.Now()
	done := func(name, said string, err error) error {
		s := relay.VerifyStep{Name: name, Took: time.Since(begin), Said: said}
		if err != nil {
			s.Error = err.Error()
		}
		begin = time.Now()
		step(s)
		return err
	}
	if from == "<>" && !u.NullSender {
		return done("mail", "", relay.ReplyAPINull)
	}
	req := u.Request(a)
	// A token that is in memory says nothing of the client secret that the
	// next refresh needs.
	token, err := u.Tokens.Fresh(ctx, req)
	if err == nil && (token == nil || token.AccessToken == "") {
		err = errors.New("the token source gave no token")
	}
	if err != nil {
		return done("token", "", err)
	}
	said := "no expiry given"
	if !token.Expiry.IsZero() {
		said = "expires " + token.Expiry.UTC().Format(time.RFC3339)
	}
	_ = done("token", said, nil)
	p, err := ledgerOf(u.name).visit(ctx, u, a)
	if err == nil {
		defer p.leave(Outcome{})
		var over func()
		ctx, over = p.request(ctx)
		defer over()
		if !p.lends() {
			err = relay.ReplyLimitsNotStored
		}
	}
	if err != nil {
		return done("api", "", err)
	}
	ctx, cancel := context.WithTimeout(ctx, u.Timeout)
	defer cancel()
	if u.Identity != nil {
		whose, err := u.whose(ctx, a, token)
		if errors.Is(err, ErrTokenRefused) {
			u.Tokens.Reject(req, token)
		}
		if done("identity", whose, err) != nil {
			return err
		}
	}
	ans, err := u.do(ctx, request{method: http.MethodPost, url: u.URL(a), token: token, body: strings.NewReader(u.Probe), length: int64(len(u.Probe))})
	if err != nil {
		return done("api", "", err)
	}
	if u.Allowed(ans) {
		p.standing(Verdict{Outcome: Outcome{Sent: true}})
		return done("api", fmt.Sprintf("HTTP %d: the mailbox may send (a request without a message was refused for that alone)", ans.Status), nil)
	}
	v := u.verdict(a.Name, ans)
	p.standing(v)
	if ans.tokenRefused() {
		u.Tokens.Reject(req, token)
	}
	if v.Reply.Positive() {
		return done("api", "", fmt.Errorf("HTTP %d for a request without a message", ans.Status))
	}
	return done("api", "", v.Reply)
}
