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

// ownAPIRows are the gateway's own replies where a message leaves through an API.
var ownAPIRows = []row{
	smtpRow("own_api_unknown", passes, "451@4.4.2", "gave no clear answer after the message", "The provider's API did not say whether it took the message: its servers failed, or the connection broke behind the last octet.",
		"Look into Sent Items before it is sent by hand again; the client tries again by itself, and the recipient may get it twice. The log has the request's ID, which the provider's support asks for."),
	smtpRow("own_api_untouched", passes, "451@4.4.1", "api was lost before the end", "The connection to the provider's API broke within the message, which was not sent.",
		"The client tries again. If it goes on: `caddy smtp doctor` asks the API, and `timeout` is how long it may take."),
	smtpRow("own_api_whose", passes, "451@4.4.1", "api did not say whose", "The API would send in the name of the token's user, and the question whose it is has no answer yet.",
		"The client tries again. If it goes on: the log says what was answered, and `caddy smtp doctor` asks the API."),
	smtpRow("own_api_header", final, "554@5.6.0", "api delivers to the header's recipients", "The API delivers to whom To, Cc and Bcc name. They name somebody whom the envelope does not, or can be read in two ways: a list, a forwarder, or an MTA that splits messages wrote so, or a client that writes no proper header.",
		"Send such mail through SMTP (`transports smtp graph` where both are open), have the MTA not split it, or set `rewrite`; the reply names address or field."),
	smtpRow("own_api_from", final, "554@5.6.0", "from field cannot be read", "The From field can be read in two ways, and the provider would refuse it or put another address there.",
		"Correct From in the client: one field, and quotes around a name with an `@` in it."),
	smtpRow("own_api_size", final, "552@5.3.4", "exceeds the api's limit", "The message is larger than the API takes in one request (`max_size`).",
		"Send it through SMTP (`transports smtp graph` where both are open), or scan with lower resolution."),
	smtpRow("own_api_null", final, "550@5.7.1", "null sender", "A bounce or report has no sender, and an API sends as the mailbox alone.",
		"Send it through SMTP, or set `null_sender`: it then leaves in the mailbox's name."),
	smtpRow("own_api_dsn", final, "555@5.5.4", "cannot carry ret", "The client asks for delivery reports that no API gives.",
		"Switch DSN off in the client, or send through SMTP."),
}
