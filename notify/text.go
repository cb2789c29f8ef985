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

package notify

import (
	"fmt"
	"strings"

	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/internal/printable"
)

// maxLines is how many notices a text names; the others are a number.
const maxLines = 20

// title is a digest in one line.
func title(d digest) string {
	begun, ended := 0, 0
	for _, n := range d.notices {
		if n.State == over {
			ended++
		} else {
			begun++
		}
	}
	begun += d.more
	switch {
	case begun == 1 && len(d.notices) == 1:
		return "trouble: " + about(d.notices[0])
	case begun == 1 && ended == 0:
		return "1 trouble" // of which only the number is known
	case begun == 0 && ended == 1:
		return "over: " + about(d.notices[0])
	case ended == 0:
		return fmt.Sprintf("%d troubles", begun)
	case begun == 0:
		return fmt.Sprintf("%d troubles are over", ended)
	}
	return fmt.Sprintf("%d troubles, and %d are over", begun, ended)
}

// headings are the kinds of trouble in a reader's words.
var headings = map[string]string{
	"accounts":        "records of accounts",
	"certificate":     "TLS certificate",
	"consent":         "consent lost",
	"consent_ends":    "consent ends soon",
	"database":        "database",
	"disk":            "disk nearly full",
	"given_up":        "mail given up",
	"login":           "login refused by the provider",
	"notifications":   "notifications of the database",
	"provider":        "provider of tokens",
	"secret":          "client secret or certificate ends",
	"spool":           "spool",
	"spool_directory": "directory of the spool",
	"spool_disk":      "disk of the spool",
	"spool_drained":   "spool that is drained",
	"spool_foreign":   "strange files in the spool",
	"spool_full":      "spool full",
	"spool_held":      "held mail",
	"spool_left":      "mail of a spool that is not configured",
	"spool_old":       "mail that waits for long",
	"spool_unread":    "kept mail that cannot be read",
	"spool_untold":    "failed mail that nobody was told of",
	"storage":         "storage cannot be written",
	"token":           "token refused",
	"upstream":        "upstream down",
}

func about(n Notice) string {
	s := headings[n.Check]
	if s == "" {
		s = n.Check
	}
	if n.Subject != "" {
		s += ", " + n.Subject
	}
	if n.Account != "" {
		s += ", " + n.Account
	}
	return s
}

// text is a digest in words.
func text(d digest) string { return strings.Join(paragraphs(d, mailRoom), "\n\n") + "\n" }

const (
	// mailRoom bounds the text of a mail.
	mailRoom = 64 << 10
	// maxWords bounds a cause or a remedy.
	maxWords = 1000
)

// paragraphs are a digest in words, troubles first, of about so many octets at most. What
// there is no room for is a number.
func paragraphs(d digest, room int) []string {
	var list []string
	more := d.more
	for _, state := range []string{began, over} {
		for _, n := range d.notices {
			if n.State != state {
				continue
			}
			p := paragraph(n)
			if room -= len(p); len(list) >= maxLines || room < 0 {
				more++
				continue
			}
			list = append(list, p)
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("and %d more: %s and the status page name them", more, invoked.Words("caddy smtp doctor")))
	}
	return list
}

func paragraph(n Notice) string {
	if n.State == over {
		return "OVER: " + printable.Cut(about(n), maxWords)
	}
	lines := []string{"TROUBLE: " + printable.Cut(about(n), maxWords)}
	for _, line := range []string{n.Cause, n.Remedy} {
		if line != "" {
			lines = append(lines, "  "+printable.Cut(line, maxWords))
		}
	}
	return strings.Join(lines, "\n")
}
