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

package gmail

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/transports/internal/mailapi"
)

// identity asks Google whose a token is
// (https://developers.google.com/identity/openid-connect/openid-connect#obtaininguserprofileinformation).
func (t *Transport) identity(ctx context.Context, _ *accounts.Account, get mailapi.Get) (mailapi.Identity, error) {
	ans, err := get(ctx, t.UserinfoURL)
	if err != nil {
		return mailapi.Identity{}, err
	}
	switch ans.Status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return mailapi.Identity{}, fmt.Errorf("userinfo_url: HTTP %d: %w", ans.Status, mailapi.ErrTokenRefused)
	default:
		return mailapi.Identity{}, fmt.Errorf("userinfo_url: HTTP %d", ans.Status)
	}
	var who struct {
		Sub           string `json:"sub"`
		Email         string `json:"email"`
		EmailVerified *bool  `json:"email_verified"`
	}
	if err := json.Unmarshal(ans.Body, &who); err != nil {
		return mailapi.Identity{}, fmt.Errorf("userinfo_url: %w", err)
	}
	if who.EmailVerified != nil && !*who.EmailVerified {
		return mailapi.Identity{}, fmt.Errorf("userinfo_url: Google has not verified the address")
	}
	if who.Sub == "" || who.Email == "" {
		return mailapi.Identity{}, fmt.Errorf("userinfo_url: %w: it needs the scopes openid and email", mailapi.ErrNoIdentity)
	}
	return mailapi.Identity{Subject: who.Sub, Addresses: []string{who.Email}}, nil
}
