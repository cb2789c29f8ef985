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

package authority

import (
	"slices"
	"strings"
)

// openID are scopes of no resource.
var openID = []string{"openid", "profile", "email", "offline_access"}

// resources are those that scopes name, each once, in order. A scope without one is
// Graph's (https://learn.microsoft.com/entra/identity-platform/scopes-oidc).
func resources(scopes string) (list []string) {
	for sc := range strings.FieldsSeq(scopes) {
		if slices.Contains(openID, strings.ToLower(sc)) {
			continue
		}
		r := "https://graph.microsoft.com"
		if i := strings.LastIndexByte(strings.TrimSuffix(sc, "/"), '/'); i > len("https://") {
			r = sc[:i]
		} else if strings.Contains(sc, "://") || !strings.Contains(sc, ".") {
			continue // of another server than Entra
		}
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

// several reports whether a token request names scopes of several resources, for
// which Entra issues no token (AADSTS28000).
func several(scopes string) bool { return len(resources(scopes)) > 1 }

// under are granted scopes as Entra names them in an answer: with the resource of the
// token in front of each, whoever's they are (report: a public note on
// email-provider-auth, measured 2026-09-19).
func under(granted, token string) string {
	rs := resources(token)
	if len(rs) == 0 {
		return granted
	}
	list := strings.Fields(granted)
	for i, sc := range list {
		if len(resources(sc)) > 0 {
			list[i] = rs[0] + "/" + sc[strings.LastIndexByte(sc, '/')+1:]
		}
	}
	return strings.Join(list, " ")
}
