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

// Identity is who consented, as the ID token says.
type Identity struct {
	// Issuer is the issuer of the ID token. At Microsoft it names the tenant.
	Issuer string `json:"iss,omitempty"`
	// Tenant is Microsoft's tenant ID.
	Tenant string `json:"tid,omitempty"`
	// Subject is what never changes: Microsoft's object ID, elsewhere `sub`.
	Subject string `json:"sub"`
	// Name is how the owner is shown: an address. It may change.
	Name string `json:"name,omitempty"`
}
