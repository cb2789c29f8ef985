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

package upstreampool

import (
	"encoding/base64"
	"strings"

	"github.com/caddymail/mailgateway/relay"
)

// A provider's reply can quote what it could not parse: the access token, or
// the blob that it stood in. Whatever is kept, shown or passed on of a
// connection's replies goes through here first.

const (
	// quoted is how much of a secret in a row is taken for a quotation of it:
	// replies are cut off, and broken into lines.
	quoted = 12
	// longWord is the shortest word of a good reply that is looked at. A
	// queue's name for a message is shorter, a token longer.
	longWord = 40

	redacted = "[redacted]"
)

// secretForms are the shapes in which a secret can be quoted: itself, and in
// base64 at each of the three places within a blob.
func secretForms(secret string) []string {
	if len(secret) < 4 {
		return nil
	}
	forms := []string{secret}
	for before := range 3 {
		b := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
		b = b[(before*8+5)/6:] // without the digits that hold bits of what is before
		if (before+len(secret))%3 != 0 {
			b = b[:len(b)-1] // nor of what comes after
		}
		forms = append(forms, b)
		if u := strings.NewReplacer("+", "-", "/", "_").Replace(b); u != b {
			forms = append(forms, u)
		}
	}
	return forms
}

// redact replaces in text every quotation of one of the secret's forms.
func redact(text string, least int, secrets ...string) string {
	if !hasWord(text, least) {
		return text
	}
	for _, secret := range secrets {
		for _, form := range secretForms(secret) {
			text = cut(text, form)
		}
	}
	return text
}

// hasWord reports whether text has least octets in a row that a secret can be
// made of.
func hasWord(text string, least int) bool {
	n := 0
	for i := range len(text) {
		if text[i] <= ' ' {
			n = 0
		} else if n++; n >= least {
			return true
		}
	}
	return false
}

// cut replaces each longest piece of text that is a piece of form, and as long
// as a quotation or the whole form.
func cut(text, form string) string {
	n := min(quoted, len(form))
	for i := 0; i+n <= len(text); i++ {
		at := strings.Index(form, text[i:i+n])
		if at < 0 {
			continue
		}
		end := i + n
		for end < len(text) && strings.Contains(form, text[i:end+1]) {
			end++
		}
		text = text[:i] + redacted + text[end:]
		i += len(redacted) - 1
	}
	return text
}

// said is the last reply, without the connection's secrets.
func (c *conn) said() *relay.Reply {
	r := c.replies.Reply()
	least := longWord
	if !r.Positive() {
		least = min(quoted, max(len(c.creds.secret), 4))
	}
	for i, l := range r.Lines {
		r.Lines[i] = redact(l, least, c.token, c.creds.secret)
	}
	return r
}
