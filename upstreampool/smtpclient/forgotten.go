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

// forgotten reports whether a refusal says that the provider no longer knows the
// session: not logged in (530, 534, 535, 538), commands out of order (503) or
// unknown (502) that were neither, a timeout. It is the connection's, not the
// message's: a client that took it for its own would bounce the mail.
func forgotten(r *relay.Reply) bool {
	text := strings.ToLower(strings.Join(r.Lines, " "))
	switch r.Code {
	case 502, 503, 530, 534, 535, 538:
		return true
	case 500: // with another detail it may be about an address
		return strings.HasPrefix(text, "5.5.1 ")
	case 450:
		return strings.HasPrefix(text, "4.4.2 ")
	case 451:
		return strings.HasPrefix(text, "4.4.2 ") || strings.Contains(text, "timeout") || strings.Contains(text, "timed out")
	case 454: // without the word it is a limit of the mailbox, as SES has it
		return strings.HasPrefix(text, "4.7.0 ") && strings.Contains(text, "authentication")
	}
	return false
}

// forgottenReply is what the client hears where a new connection met the same:
// never a final refusal, since it answers nothing that the client did.
func forgottenReply(r *relay.Reply) *relay.Reply {
	switch r.Code {
	case 530, 534, 535, 538:
		return relay.ReplyUpstreamAuthWords(r)
	case 500, 502, 503:
		return relay.ReplyUpstreamSession(r)
	}
	return r
}

// forgottenEnd is what becomes of a refused body, or of the part of one, where the
// refusal is the session's. Nothing was accepted, so the message may go out again
// on another connection; but not behind a 4xx at its end, which can come from
// beyond the provider's door.
func forgottenEnd(r *relay.Reply) (Outcome, bool) {
	if r.Positive() || !forgotten(r) {
		return Outcome{}, false
	}
	return Outcome{Reply: forgottenReply(r), Untouched: r.Code >= 500}, true
}

// unknownVerb reports whether the code of a refused BDAT can mean that the
// provider, or a proxy before it, does not know the command that it announced.
func unknownVerb(code int) bool { return code == 500 || code == 502 || code == 503 || code == 504 }
