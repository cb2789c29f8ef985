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

package limits

import (
	"slices"

	"github.com/caddymail/mailgateway/limits/record"
)

// importAccount counts what an earlier version has stored of the account, once.
func (m *mailbox) importAccount(a *account, now int64) {
	old := m.local.legacy.Load()
	if old == nil || !m.loaded || m.imported[a.name] {
		return
	}
	c, ok := (*old)[a.name]
	if !ok {
		return
	}
	if m.foreign != nil {
		if slices.Contains(m.foreign.Imported, a.name) {
			return
		}
	}
	m.all.add((*record.Counts)(&c), now)
	a.add((*record.Counts)(&c), now)
	m.markImported(a.name)
}

func (m *mailbox) markImported(name string) {
	if m.imported == nil {
		m.imported = make(map[string]bool)
	}
	m.imported[name] = true
}
