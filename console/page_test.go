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

package console

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// TestVendored holds that htmx is what docs/decisions.md says.
func TestVendored(t *testing.T) {
	script, err := files.ReadFile("pages/htmx.min.js")
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := os.ReadFile("../docs/decisions.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(script)
	if !strings.Contains(string(decisions), hex.EncodeToString(sum[:])) {
		t.Errorf("docs/decisions.md does not have the SHA-256 %x of htmx.min.js", sum)
	}
}
