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

package operate

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/internal/nearest"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp/counters"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// VerifyStep is a step, and what is known of its failure.
type VerifyStep struct {
	upstreamapp.VerifyStep
	Explanation *explain.Explanation `json:"explanation,omitempty"`
}

// VerifyResult is what came of a verification.
type VerifyResult struct {
	Account  string `json:"account"`
	Upstream string `json:"upstream"`
	// Way is the upstream that messages leave through, where the account has
	// several.
	Way   string       `json:"way,omitempty"`
	OK    bool         `json:"ok"`
	Steps []VerifyStep `json:"steps"`
	// Error is that of the step that failed, or why there was none.
	Error       string               `json:"error,omitempty"`
	Explanation *explain.Explanation `json:"explanation,omitempty"`
}

// Verify goes the way of an account's message, step by step, and says of each
// what came of it. from is a MAIL FROM to try and take back; empty: the way
// ends with the login. An error is about what kept it from beginning.
func Verify(ctx context.Context, a *accounts.Account, from string) (*VerifyResult, error) {
	return VerifyEach(ctx, a, from, func(VerifyStep) {})
}

// VerifyEach is Verify with each step told as it ends.
func VerifyEach(ctx context.Context, a *accounts.Account, from string, each func(VerifyStep)) (*VerifyResult, error) {
	app, err := App[*upstreamapp.App]("smtp_upstreams")
	if err != nil {
		return nil, err
	}
	about := explain.About{Account: a.Name, Mailbox: cmp.Or(a.Mailbox, a.Name)}
	result := &VerifyResult{Account: a.Name, Upstream: a.Upstream, Steps: []VerifyStep{}}
	if !app.Has(a.Upstream) {
		return nil, fmt.Errorf("%w: '%s'%s", upstreamapp.ErrNoUpstream, a.Upstream, nearest.Hint(a.Upstream, app.Names()))
	}
	if own := ownRules(app, a, from); own.Error != "" {
		each(own)
		result.Steps = append(result.Steps, own)
		result.Error, result.Explanation = own.Error, own.Explanation
		return result, nil
	}
	err = app.Verify(ctx, a, from, func(s upstreamapp.VerifyStep) {
		step := VerifyStep{VerifyStep: s}
		if s.Error != "" {
			step.Explanation = explainStep(about, s)
		} else if s.Name == "token" {
			if claims := tokenClaims(ctx, a); claims != "" {
				step.Said += "; " + claims
			}
		}
		each(step)
		result.Steps = append(result.Steps, step)
		if s.Name == "choice" {
			result.Way = s.Way // of the last one: its choice
		}
	})
	if errors.Is(err, upstreamapp.ErrNoUpstream) || errors.Is(err, upstreamapp.ErrUnsupported) {
		return nil, err
	}
	if result.OK = err == nil; result.OK {
		verified.set(a, "", 0)
	} else if s := lastStep(result.Steps); (s.Name == "auth" || s.Name == "identity" || s.Name == "api") && s.Explanation != nil && !s.Explanation.RetryHelps {
		verified.set(a, s.Error, acceptedOf(a))
	}
	if err != nil {
		result.Error = err.Error()
		if n := len(result.Steps); n > 0 && result.Steps[n-1].Error != "" {
			result.Error, result.Explanation = result.Steps[n-1].Error, result.Steps[n-1].Explanation
		} else if e, ok := about.Of(result.Error); ok {
			result.Explanation = &e
		}
	}
	return result, nil
}

func lastStep(steps []VerifyStep) VerifyStep {
	if len(steps) == 0 {
		return VerifyStep{}
	}
	return steps[len(steps)-1]
}

// acceptedOf is how many messages of an account have been accepted.
func acceptedOf(a *accounts.Account) uint64 {
	c, _ := counters.Of(a.Name)
	return c.Accepted
}

// ownRules is what the gateway itself says to a message of the account, before
// the provider is asked: a test that went around it would say "can send" where
// nothing can be sent.
func ownRules(app *upstreamapp.App, a *accounts.Account, from string) VerifyStep {
	fail := func(name, said string, e explain.Explanation) VerifyStep {
		return VerifyStep{VerifyStep: upstreamapp.VerifyStep{Name: name, Error: said}, Explanation: &e}
	}
	if a.Paused {
		return fail("account", "the account is paused: its logins are refused with "+relay.ReplyPaused.Error(), explain.Explanation{
			ID: "account_paused", Cause: "An operator has paused the account.", Remedy: invoked.Words("`caddy smtp account resume ") + a.Name + "`, then test again.",
		})
	}
	if from != "" && from != "<>" && !a.MaySend(from) {
		return fail("sender", relay.ReplySenderRefused.Error(), explain.Explanation{
			ID:     "sender_refused",
			Cause:  "The gateway itself refuses this sender: the account's `senders` allow " + strings.Join(a.Senders, ", ") + " only.",
			Remedy: invoked.Words("Use such an address in the client, or `caddy smtp account set ") + a.Name + " --sender " + from + "` beside those that stand there.",
		})
	}
	st, err := app.AccountStatus(a)
	if err != nil {
		return VerifyStep{}
	}
	for _, l := range st.Limits {
		if l.Limit.Count == 0 || l.Remaining > 0 {
			continue
		}
		until := ""
		if l.NextFree != nil {
			until = " until " + l.NextFree.UTC().Format(time.RFC3339)
		}
		return fail("limits", fmt.Sprintf("%d of %d %s are used up%s: messages are refused with 451 4.7.1", l.Used, l.Limit.Count, l.Counts, until), explain.Explanation{
			ID: "limit_used_up", Cause: "The account has used up one of its limits at the gateway.", RetryHelps: true,
			Remedy: "Wait, or raise the limit of the account or its upstream if the provider's own is higher.",
		})
	}
	return VerifyStep{}
}

// explainStep explains a failed step. The challenge of a refused login says
// more than the reply after it, unless only its kind is known.
func explainStep(about explain.About, s upstreamapp.VerifyStep) *explain.Explanation {
	of := about.Of
	if s.Name == "token" {
		of = about.Token
	}
	var general *explain.Explanation
	for _, text := range []string{s.Challenge, s.Error} {
		e, ok := of(text)
		switch {
		case ok && !e.General:
			return &e
		case ok && general == nil:
			general = &e
		}
	}
	return general
}

// tokenClaims says for whom and for what an account's access token is, as far
// as it is a JWT (Microsoft's are). The signature is the provider's to check.
func tokenClaims(ctx context.Context, a *accounts.Account) string {
	app, err := App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return ""
	}
	provider, err := ProviderOf(a.Upstream)
	if err != nil {
		return ""
	}
	token, err := app.Token(ctx, GrantOf(provider, a))
	if err != nil {
		return ""
	}
	return describeJWT(token.AccessToken)
}

// describeJWT names the claims of an access token that matter when a provider
// refuses it.
func describeJWT(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Audience any      `json:"aud"`
		Scopes   string   `json:"scp"`
		Roles    []string `json:"roles"`
		Tenant   string   `json:"tid"`
		User     string   `json:"upn"`
		Name     string   `json:"preferred_username"`
		App      string   `json:"appid"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	user := claims.User
	if user == "" {
		user = claims.Name
	}
	var said []string
	for _, c := range []struct{ name, value string }{
		{"audience", fmt.Sprint(claims.Audience)},
		{"scopes", claims.Scopes},
		{"roles", strings.Join(claims.Roles, " ")},
		{"tenant", claims.Tenant},
		{"user", user},
		{"application", claims.App},
	} {
		if c.value != "" && c.value != "<nil>" {
			said = append(said, c.name+" "+c.value)
		}
	}
	return strings.Join(said, ", ")
}
