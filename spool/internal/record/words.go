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

package record

import (
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/relay"
)

// MaxWords bounds what is kept of a reply, in octets.
const MaxWords = 900

// Words is all that a reply says, in one line: the enhanced code stands in front
// once, since providers repeat it on each line of one sentence.
func Words(r *relay.Reply) string {
	if len(r.Lines) == 0 {
		return r.Error()
	}
	enhanced := ""
	if r.Enhanced != (smtp.EnhancedCode{}) {
		enhanced = fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2])
	}
	words := []string{fmt.Sprint(r.Code)}
	if enhanced != "" {
		words = append(words, enhanced)
	}
	for _, line := range r.Lines {
		if rest, ok := strings.CutPrefix(line, enhanced); ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t') {
			line = rest
		}
		words = append(words, strings.Fields(line)...)
	}
	return printable.Cut(strings.Join(words, " "), MaxWords)
}
