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

// Package roles says whom a list of users of the console names.
package roles

import (
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/internal/fold"
)

// Listed reports whether a list has the user: by name, by `@` and the domain of an
// address, by `group:` and a group, or as everyone.
func Listed(list []string, name string, groups []string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		if group, ok := strings.CutPrefix(s, "group:"); ok {
			return slices.Contains(groups, group)
		}
		if name == "" {
			return false
		}
		if at := strings.IndexByte(name, '@'); strings.HasPrefix(s, "@") {
			return at > 0 && fold.Equal(s, name[at:])
		}
		return s == "*" || fold.Equal(s, name)
	})
}

const maxGroups = 200

// Groups reads a claim that is a list of words, or one.
func Groups(claim any) (list []string) {
	switch g := claim.(type) {
	case string:
		list = append(list, g)
	case []any:
		for _, v := range g {
			if s, ok := v.(string); ok {
				list = append(list, s)
			}
		}
	}
	list = slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" })
	return list[:min(len(list), maxGroups)]
}
