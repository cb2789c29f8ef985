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

package caddymodule

import "github.com/caddymail/mailgateway/accounts"

// accountStates are what an account's state may be.
var accountStates = []string{"active", "paused", "needs_consent"}

// accountState tells what keeps an account from sending, if anything does.
func accountState(a *accounts.Account) string {
	if a.Paused {
		return "paused"
	}
	return "active"
}

// accountStatus is what the apps know of an account at the moment.
type accountStatus struct{}

func statusOf(*accounts.Account) accountStatus { return accountStatus{} }
