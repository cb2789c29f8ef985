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

package connect

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
	"github.com/caddymail/mailgateway/operate"
)

// outcome is what a flow ended with, as its cookie holds it: no secret.
type outcome struct {
	// Kind is the page's.
	Kind string `json:"k"`
	// Used is who consented, Expected who was to.
	Used     string `json:"u,omitempty"`
	Expected string `json:"e,omitempty"`
	// Missing are scopes that were not granted.
	Missing []string `json:"m,omitempty"`
	// Words are the provider's own.
	Words string `json:"w,omitempty"`
}

// maxWords bounds each text of an outcome: what a provider says may be long, and browsers
// send it with each request.
const maxWords = 240

// bounded is what of an outcome fits a cookie.
func (o outcome) bounded() outcome {
	o.Used, o.Expected, o.Words = printable.Cut(o.Used, maxWords), printable.Cut(o.Expected, maxWords), printable.Cut(o.Words, maxWords)
	o.Missing = slices.Clone(o.Missing[:min(len(o.Missing), 5)])
	for i := range o.Missing {
		o.Missing[i] = printable.Cut(o.Missing[i], maxWords)
	}
	return o
}

// retryKinds are outcomes after which the same link can be used again.
var retryKinds = []string{"wrong_account", "needs_admin", "scope", "no_refresh_token", "declined", "no_identity", "failed"}

// needsAdmin are Entra's reasons that only an administrator can end.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var needsAdmin = regexp.MustCompile(`^AADSTS(65001|90093|90094|900941|900981|900971|90095|650056|50105|500113)$`)

var errNoIdentity = errors.New("the provider did not say who consented")

// finish exchanges the code, looks at who consented to what, and keeps it.
func (h *Handler) finish(ctx context.Context, f flow, query url.Values) outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	id, err := idOf(f.Token)
	if err != nil {
		return outcome{Kind: "failed"}
	}
	var ended *outcome
	end, err := Invitations{h.storage}.once(ctx, id, short(f.Login.State), func(inv *Invitation) outcome {
		o := h.end(ctx, inv, f, query)
		ended = &o
		return o
	})
	switch {
	case err == nil:
		return end
	case ended != nil:
		// It is another node that cannot hear of it.
		h.logger.Warn("what became of a consent could not be stored", zap.Error(err))
		return *ended
	}
	h.logger.Warn("a mailbox owner's consent was not taken", zap.String("provider", f.Login.Provider), zap.String("outcome", "failed"), zap.Error(err))
	return outcome{Kind: "failed"}
}

// end is finish for the one of the nodes that does it.
func (h *Handler) end(ctx context.Context, inv *Invitation, f flow, query url.Values) outcome {
	var consent *authserver.Consent
	err := usable(inv, f.Begun)
	if err == nil {
		consent, err = h.keep(ctx, inv, f, query)
	}
	end := outcomeOf(err)
	if consent != nil {
		end.Missing = consent.MissingScopes
	}
	fields := []zap.Field{zap.String("account", inv.Account), zap.String("provider", f.Login.Provider), zap.String("invitation", inv.ID[:12])}
	if err == nil {
		end.Used = consent.Identity
		h.logger.Info("a mailbox owner has consented", append(fields, zap.String("owner", consent.Identity), zap.String("invited_by", inv.InvitedBy))...)
	} else {
		h.logger.Warn("a mailbox owner's consent was not taken", append(fields, zap.String("outcome", end.Kind), zap.Error(err))...)
	}
	return end
}

// keep stores a consent and uses the invitation up, both or neither.
func (h *Handler) keep(ctx context.Context, inv *Invitation, f flow, query url.Values) (*authserver.Consent, error) {
	app, err := operate.App[*oauthtoken.App]("oauth_tokens")
	if err != nil {
		return nil, err
	}
	p, ok := app.Provider(f.Login.Provider)
	if !ok {
		return nil, fmt.Errorf("provider '%s' is not configured in oauth_tokens", f.Login.Provider)
	}
	consent, err := p.Resume(ctx, f.Login, query)
	if err != nil {
		return nil, err
	}
	switch {
	case consent.Owner == nil && !h.Unidentified:
		return nil, errNoIdentity
	case len(consent.MissingScopes) > 0:
		return consent, &authserver.ScopeError{Missing: consent.MissingScopes}
	}
	return consent, Invitations{h.storage}.Use(ctx, inv.ID, f.Begun, func(inv *Invitation) (string, error) {
		a, provider, err := target(ctx, inv)
		if err != nil {
			return "", err
		}
		if provider.Name() != f.Login.Provider {
			return "", errors.New("the account's upstream has another provider now")
		}
		// The delegate was compared with the invitation; the mailbox's grant may
		// have been another's.
		consent.AnyIdentity = inv.Delegate != ""
		return consent.Identity, app.StoreLogin(ctx, operate.GrantOf(provider.Name(), a), consent)
	})
}

// outcomeOf is the page that an error leads to.
func outcomeOf(err error) outcome {
	if err == nil {
		return outcome{Kind: "done"}
	}
	if e, ok := errors.AsType[*authserver.IdentityError](err); ok {
		return outcome{Kind: "wrong_account", Used: e.Used, Expected: e.Expected}
	}
	if e, ok := errors.AsType[*authserver.Error](err); ok {
		o := outcome{Kind: "failed", Words: e.Description}
		switch {
		case e.Code == "no_refresh_token":
			o.Kind = "no_refresh_token"
		case needsAdmin.MatchString(e.Reason), e.Code == "consent_required", e.Code == "admin_policy_enforced", e.Code == "org_internal":
			o.Kind = "needs_admin"
		case e.Code == "access_denied":
			o.Kind = "declined"
		}
		return o
	}
	if _, ok := errors.AsType[*authserver.ScopeError](err); ok {
		return outcome{Kind: "scope"}
	}
	if errors.Is(err, errNoIdentity) || errors.Is(err, authserver.ErrIdentity) {
		return outcome{Kind: "no_identity"}
	}
	return outcome{Kind: "failed"}
}
