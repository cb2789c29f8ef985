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

package explain

import (
	"regexp"
	"slices"
	"strings"
)

// apiCode finds an error code of Graph's, or an answer of an API without one.
var apiCode = regexp.MustCompile(`\bError[A-Z][A-Za-z]+\b|(?i:\b(?:graph|gmail api)\b.*\bHTTP [45]\d\d\b)`)

var (
	unknownEntra = Explanation{
		Cause:  "Entra refused to issue a token, with a code that is not in the gateway's table.",
		Remedy: "Microsoft explains the code at https://login.microsoftonline.com/error?code=NUMBER; the Entra sign-in log names the attempt. `caddy smtp test ACCOUNT` asks again at once.",
	}
	unknownAPI = Explanation{
		Cause:  "The provider's API refused with a code that is not in the gateway's table; its message says most.",
		Remedy: "Look the code up in the provider's documentation; the request's ID in the reply is what its support asks for.",
	}
)

// subjects say what the second number of an enhanced status code is about
// (RFC 3463 section 3).
var subjects = map[byte]wording{
	'0': {"something that the provider does not name", ""},
	'1': {"an address, of the sender or of a recipient", "Check the addresses that the provider names."},
	'2': {"a mailbox: full, disabled or unwilling", "Check the mailbox that the provider names, the sender's own as well."},
	'3': {"the provider's own mail system, or the message's size", "Try a smaller message; otherwise wait, and see the provider's status page."},
	'4': {"the network, or routing at the provider", "Wait; if it goes on, see the provider's status page."},
	'5': {"the SMTP dialogue: a command or a parameter", "Try with `caddy smtp test ACCOUNT --from MAILBOX`; if that works, look at what the client says."},
	'6': {"the message's content or its format", "Send another message to the same recipient; if that works, look at this one's header and attachments."},
	'7': {"a right, a policy or a login", "See the account's page at the provider for a warning; in an organization its administrator finds the attempt in the sign-in log or the message trace."},
}

// bareReplies say what reply codes mean where no enhanced code goes with them
// (RFC 5321 section 4.2.3, RFC 4954 section 6).
var bareReplies = map[string]byte{
	"421": '4', "432": '7', "450": '2', "451": '3', "452": '3', "454": '7', "455": '5',
	"500": '5', "501": '5', "502": '5', "503": '5', "504": '5', "521": '4', "530": '7', "534": '7', "535": '7', "538": '7',
	"550": '2', "551": '1', "552": '3', "553": '1', "554": '0', "555": '5', "556": '1',
}

// general is what the kind of a code says where no row knows the code itself.
// It never claims more.
func general(raw string) (Explanation, bool) {
	text := normalize(raw)
	if _, theirs, ok := cutOwn(text); ok {
		text = theirs
	}
	if code := entraCode.FindString(text); code != "" {
		e := unknownEntra
		e.ID, e.General = code, true
		e.Consent = strings.Contains(text, "invalid_grant") || strings.Contains(text, "_required")
		e.Remedy = strings.ReplaceAll(e.Remedy, "NUMBER", strings.TrimPrefix(code, "aadsts"))
		return e, true
	}
	if apiCode.MatchString(raw) {
		e := unknownAPI
		e.ID, e.General = "api_other", true
		return e, true
	}
	for _, r := range slices.Backward(repliesOf(text)) {
		code := r.enhanced
		var subject byte
		if code == "" {
			code = r.code
			subject = bareReplies[code]
		} else {
			subject = code[2]
		}
		if code[0] == '2' {
			continue
		}
		s, ok := subjects[subject]
		if !ok || len(code) > 3 && code[3] != '.' {
			s = subjects['0']
		}
		e := Explanation{ID: "reply_" + strings.ReplaceAll(code, ".", "_"), General: true, RetryHelps: code[0] == '4'}
		refusal := "for good"
		if e.RetryHelps {
			refusal = "for now"
		}
		e.Cause = "The provider refused " + refusal + " because of " + s.cause + ". The gateway does not know `" + code +
			"` more exactly; the provider's own words say most."
		e.Remedy = strings.TrimSpace(s.remedy + " Search the provider's help for `" + code + "` and its words.")
		return e, true
	}
	return Explanation{}, false
}
