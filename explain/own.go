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

// quotes are the gateway's own words before a provider's.
var quotes = []string{
	"refused the gateway's authentication for this account: ",
	"no upstream of this account takes its mailbox: ",
	"limits this account's connections: ",
	"lost the gateway's session: ",
	refusesConnection,
}

// refusesConnection stands before what a provider says that takes no connection: its
// code is about this machine then, and not about a message.
const refusesConnection = "refuses the gateway's connection: "

// unwelcome explains such a refusal that no row knows by its words.
func unwelcome(theirs string) *row {
	if strings.HasPrefix(theirs, "4") {
		return &unwelcomeRows[0]
	}
	return &unwelcomeRows[1]
}

var unwelcomeRows = []row{{words: []string{refusesConnection + "4"}, Explanation: Explanation{
	ID:         "own_connection_refused_now",
	Cause:      "The provider answers and takes no connection from this machine for now: it is overloaded, or limits or has put off this address.",
	Remedy:     "None, if it passes: it is tried again. Otherwise lower `max_conns` of the upstream, and see the provider's status page.",
	RetryHelps: true,
}}, {words: []string{refusesConnection + "5"}, Explanation: Explanation{
	ID:     "own_connection_refused",
	Cause:  "The provider answers and takes no connection from this machine: its address is blocked or not allowed there, or this is not a server for submission.",
	Remedy: "Read the provider's words: they often name the block list, or the page where the address is freed. Otherwise send from another address (`source_ip`), or check host and port in `dial`. It is tried again by itself.",
}}}

// cutOwn cuts a normalized text behind the gateway's own words.
func cutOwn(text string) (ours, theirs string, ok bool) {
	for _, q := range quotes {
		if ours, theirs, ok = strings.Cut(text, q); ok && theirs != "" {
			return ours, theirs, true
		}
	}
	return text, "", false
}

// ownRows are the gateway's own replies that have a provider's code: 454 4.7.0
// from a provider means something else.
var ownRows = []row{
	{codes: []string{"454 4.7.0"}, words: []string{"needs consent|consent again"}, Explanation: Explanation{
		ID:      "own_needs_consent",
		Cause:   "The account has no token that can be refreshed.",
		Remedy:  "caddy smtp login ACCOUNT, as the mailbox's owner.",
		Consent: true,
	}},
	{codes: []string{"454 4.7.0"}, words: []string{"access token is another user's"}, Explanation: Explanation{
		ID:      "own_other_user",
		Cause:   "The token that the provider gave belongs to another user than the account's mailbox.",
		Remedy:  "caddy smtp login ACCOUNT, as the mailbox's owner.",
		Consent: true,
	}},
	{codes: []string{"451 4.3.5"}, words: []string{"answered is not the provider's api|provider's api is elsewhere"}, Explanation: Explanation{
		ID:         "own_api_elsewhere",
		Cause:      "Something on the way answered in the provider's place (a proxy's page, a network that wants a login), or `endpoint` is not the API.",
		Remedy:     "The log has its status, its server and whose certificate it was. Except the provider at the proxy, or correct `endpoint`.",
		RetryHelps: true,
	}},
	{codes: []string{"454 4.7.0"}, words: []string{"does not announce mechanism"}, Explanation: Explanation{
		ID:     "own_mechanism",
		Cause:  mechanismCause,
		Remedy: mechanismRemedy,
	}},
	smtpRow("own_token_endpoint", passes, "454@4.7.0", "token endpoint is unavailable", "The gateway has no access token: the provider's token endpoint is down or slow, or refuses the app's credentials.",
		"Run `caddy smtp test ACCOUNT`: its step `token` has the endpoint's answer."),
	smtpRow("own_busy_logins", passes, "454@4.7.0", "temporary authentication failure", "More logins came than slow password hashes can be checked at a time.",
		"The client tries again. Generated passwords (`sha256:`) cost nothing to check."),
	smtpRow("own_login_refused", passes, "454@4.7.0", "refused the gateway's authentication", "The provider refused the gateway's login for this account; its own words follow the gateway's.",
		"Run `caddy smtp test ACCOUNT`: its step `login` has the provider's whole answer."),
}
