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
	"time"
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

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1834: "1.8 KB", 3_200_000: "3.2 MB"} {
		if got := sizeOf(n); got != want {
			t.Errorf("%d octets are %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 ms", 420 * time.Millisecond: "420 ms", 5123 * time.Millisecond: "5.1 seconds", 125 * time.Second: "2 min 5 s"} {
		if got := tookWords(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
