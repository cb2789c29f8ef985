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

import "strings"

const (
	// final says that the same message fails again.
	final = false
	// passes says that it may go through later.
	passes = true
)

// smtpRow makes the row of an SMTP reply. codes are enhanced codes with blanks
// between; A@B binds one to its reply code. words are alternatives.
func smtpRow(id string, again bool, codes, words, cause, remedy string) row {
	r := row{Explanation: Explanation{ID: id, Cause: cause, Remedy: remedy, RetryHelps: again}}
	for c := range strings.FieldsSeq(codes) {
		if a, b, ok := strings.Cut(c, "@"); ok {
			if strings.Contains(a, ".") {
				a, b = b, a
			}
			c = a + " " + b
		}
		r.codes = append(r.codes, c)
	}
	if words != "" {
		r.words = []string{words}
	}
	return r
}

// otherRows are replies of Yahoo, Zoho and others, and those that mean the same
// everywhere (RFC 3463, RFC 5321, RFC 5248).
var otherRows = []row{
	smtpRow("yahoo_bad_auth_attempts", passes, "5.7.0 4.7.0 5.7.1", "#auth005", "Yahoo locked the login after too many failures.", "Mend the login first, then wait an hour."),
	smtpRow("zoho_limit", passes, "5.4.6", "", "The provider's sending limit is reached, or the account is blocked for unusual activity.", "See the account's page at the provider (Zoho); wait an hour."),
	smtpRow("zoho_blocked", final, "5.1.8", "outgoing blocked", "The provider blocked the sender.", "See the account's page at the provider."),
	smtpRow("too_many_recipients", passes, "4.5.3", "", "The message has more recipients than the provider takes at once (Gmail: 100, Microsoft: 500 unless raised).", "Send the rest in another message; MTAs do so by themselves."),
	smtpRow("too_big", final, "5.3.4 5.2.3", "", "The message is larger than the provider or the recipient takes.", "Send a smaller message, or a link; `max_message_size` refuses it at the client."),
	smtpRow("bad_credentials", final, "5.7.8 535@5.7.1", "", "The provider does not accept the login: the token or the password does not belong to this mailbox, or was withdrawn.",
		"With OAuth check `mailbox`, then: caddy smtp login ACCOUNT. With a password: caddy smtp account set ACCOUNT --secret-file FILE."),
	smtpRow("mailbox_unavailable", final, "5.2.2", "", "The recipient's mailbox is full.", "Ask the recipient; the sender can do nothing."),
	smtpRow("mailbox_full_now", passes, "4.2.2", "", "The recipient's mailbox is full.", "Wait, or ask the recipient."),
	smtpRow("greylisted", passes, "4.7.1 4.2.0", "greylist|graylist|try again later", "The provider puts this sender off for a while.", "Wait: a later try passes."),
	smtpRow("bad_recipient_syntax", final, "5.1.3 5.1.2", "", "A recipient's address is malformed, or its domain does not exist.", "Check the recipients of the message."),
	smtpRow("bad_sender_syntax", final, "5.1.7", "", "The sender's address is malformed or not known to the provider.", "Check the client's sender address."),
	smtpRow("out_of_order", passes, "5.5.1", "", "The provider had lost the session's state: a command came that it did not expect.", "None, if it is rare: a new connection is used. Otherwise report it as a defect."),
	smtpRow("smtp_login_required", final, "530@5.7.0 530@5.7.1", "", "The provider wants a login, and the session has none.", "Check `auth` in the upstream, then run `caddy smtp test ACCOUNT`."),
	smtpRow("content_refused", final, "5.6.0 5.6.1 5.6.3", "", "The provider does not take the message's content or its format.", "Look at the message's header and attachments, and at the client that wrote it."),
	smtpRow("session_ended", passes, "421@4.4.2", "", "The provider ended the session: it was idle or slow, or the connection was lost on the provider's side.",
		"None: the gateway uses a new connection. If it comes back, keep idle_timeout under 4m and see whether a firewall on the way cuts idle connections."),
	{words: []string{"needs consent|consent again"}, Explanation: Explanation{
		ID:      "needs_consent",
		Cause:   "The account has no token that can be refreshed.",
		Remedy:  "caddy smtp login ACCOUNT, as the mailbox's owner.",
		Consent: true,
	}},
	{words: []string{"too many recipients"}, Explanation: Explanation{
		ID:     "too_many_recipients_words",
		Cause:  "The message has more recipients than the provider takes at once.",
		Remedy: "Send the rest in another message; MTAs do so by themselves.",
	}},
}
