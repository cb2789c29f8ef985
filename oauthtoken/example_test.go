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

package oauthtoken_test

import (
	"context"
	"fmt"

	"github.com/caddymail/mailgateway/grant"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/oauthtoken/authserver"
)

// How to log an account in: the command `smtp login` and the HTTP handlers do it this way.
func ExampleApp_StoreLogin() {
	login := func(ctx context.Context, app *oauthtoken.App) error {
		p, ok := app.Provider("google")
		if !ok {
			return fmt.Errorf("no such provider")
		}
		flow, err := p.AuthCodeFlow(ctx, authserver.LoginOptions{Mailbox: "a@example.com"})
		if err != nil {
			return err
		}
		defer flow.Close()
		fmt.Println(flow.URL)          // open it in the browser
		consent, err := flow.Wait(ctx) // it comes back; or Finish, with the address that the user pastes
		if err != nil {
			return err
		}
		return app.StoreLogin(ctx, grant.Request{Provider: "google", Account: "a@example.com"}, consent)
	}
	_ = login
}
