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
	"fmt"
	"testing"

	"github.com/caddymail/mailgateway/transports/internal/apitest"
)

// TestKeeps holds that the page says what the defaults are.
func TestKeeps(t *testing.T) {
	tr := new(Transport)
	if err := tr.fill(); err != nil {
		t.Fatal(err)
	}
	apitest.Keeps(t, "graph", map[string]string{
		"largest message":       apitest.Commas(tr.MaxSize) + " octets",
		"connections at a time": fmt.Sprintf("%d requests a mailbox", tr.MaxConnsPerAccount),
		"null sender":           map[bool]string{false: "refused", true: "yes"}[tr.NullSender],
		"sending limits":        "the same ones",
	})
}
