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

package smtpclient

import (
	"strings"

	"github.com/caddymail/mailgateway/relay"
)

// forgotten reports whether a refusal of MAIL or RCPT says that the provider no
// longer knows the session: not logged in (530, 535), commands out of order
// (503) where they were in order, a timeout. It is the connection's, not the
// message's: a client that took it for its own would bounce the mail.
func forgotten(r *relay.Reply) bool {
	switch r.Code {
	case 503, 530, 535:
		return true
	case 451:
		text := strings.ToLower(strings.Join(r.Lines, " "))
		return strings.HasPrefix(text, "4.4.2 ") || strings.Contains(text, "timeout") || strings.Contains(text, "timed out")
	}
	return false
}

// forgottenReply is what the client hears where a new connection met the same:
// never a final refusal, since it answers nothing that the client did.
func forgottenReply(r *relay.Reply) *relay.Reply {
	switch r.Code {
	case 530, 535:
		return relay.ReplyUpstreamAuthWords(r)
	case 503:
		return relay.ReplyUpstreamSession(r)
	}
	return r
}

// unknownVerb reports whether the code of a refused BDAT can mean that the
// provider, or a proxy before it, does not know the command that it announced.
func unknownVerb(code int) bool { return code == 500 || code == 502 || code == 503 || code == 504 }
