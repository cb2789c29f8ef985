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

package oauthtoken

import "github.com/caddymail/mailgateway/internal/seal"

// SealKeys returns the keys that the records are sealed with, for others that
// keep what is as secret (the spool). They are nil without any.
func (a *App) SealKeys() *seal.Keys {
	if a.records == nil || a.records.Seal == nil {
		return nil
	}
	return a.records.Seal.Keys
}
