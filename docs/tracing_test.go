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

package docs

import (
	"regexp"
	"strings"
	"testing"
)

// TestSpansAreDocumented holds that tracing.md names each span, attribute and
// event, and each variable that is checked.
func TestSpansAreDocumented(t *testing.T) {
	text := read(t, "tracing.md")
	name := regexp.MustCompile(`(?:attribute\.\w+\(|child\(ctx, |AddEvent\(|defaultSpan = |")"?([a-z][a-z_. ]+|OTEL_[A-Z_]+)"`)
	found := 0
	for _, file := range []string{"../smtpapp/tracing.go", "../smtpapp/tracing_spans.go"} {
		for line := range strings.Lines(read(t, file)) {
			if !strings.Contains(line, "attribute.") && !strings.Contains(line, "child(ctx") && !strings.Contains(line, "AddEvent") &&
				!strings.Contains(line, "defaultSpan =") && !strings.Contains(line, "OTEL_") {
				continue
			}
			for _, m := range name.FindAllStringSubmatch(line, -1) {
				found++
				if !strings.Contains(text, "`"+m[1]+"`") {
					t.Errorf("tracing.md does not name `%s`", m[1])
				}
			}
		}
	}
	if found < 25 {
		t.Errorf("found only %d names", found)
	}
}
