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

package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// identity says whose a token is, for `me`, which sends as whoever that is. Graph
// tells it to tokens with User.Read
// (https://learn.microsoft.com/graph/api/user-get). Without that permission the
// consent tells it, if it came through the gateway and was the mailbox's own user's:
// all tokens come from it.
func (t *Transport) identity(ctx context.Context, a *accounts.Account, get mailapi.Get) (mailapi.Identity, error) {
	id := t.objectID(a)
	ans, err := get(ctx, t.Endpoint+"/v1.0/me?$select=id,mail,userPrincipalName")
	if err != nil {
		return mailapi.Identity{}, fmt.Errorf("/me: %w", err)
	}
	switch {
	case ans.Claims():
		return mailapi.Identity{}, fmt.Errorf("/me: HTTP %d: %w", ans.Status, mailapi.ErrWantsUser)
	case ans.Status == http.StatusUnauthorized:
		return mailapi.Identity{}, fmt.Errorf("/me: HTTP %d: %w", ans.Status, mailapi.ErrTokenRefused)
	case ans.Status == http.StatusForbidden && id != "":
		return mailapi.Identity{Subject: id, Source: "consent", Addresses: []string{a.Mailbox}, Own: true}, nil
	case ans.Status == http.StatusForbidden:
		return mailapi.Identity{}, fmt.Errorf("/me: HTTP %d: %w: it needs the permission User.Read, or a consent through the gateway", ans.Status, mailapi.ErrNoIdentity)
	case ans.Status != http.StatusOK:
		return mailapi.Identity{}, fmt.Errorf("/me: HTTP %d", ans.Status)
	}
	var who struct {
		ID   string `json:"id"`
		Mail string `json:"mail"`
		UPN  string `json:"userPrincipalName"`
	}
	if err := json.Unmarshal(ans.Body, &who); err != nil {
		return mailapi.Identity{}, fmt.Errorf("/me: %w", err)
	}
	// A personal account's ID has another form here than in its consent.
	me := mailapi.Identity{Subject: who.ID, Own: id != "" && who.ID == id}
	// The two differ in many tenants.
	for _, s := range []string{who.Mail, who.UPN} {
		if s != "" {
			me.Addresses = append(me.Addresses, s)
		}
	}
	return me, nil
}
