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

package relay

import (
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// The gateway's own replies. Nothing else in this module writes a reply of
// its own; everything that is not here is a provider's word.
var (
	ReplyTooManyConns     = own(421, 4, 3, 2, "Too many connections, try again later")
	ReplyBanned           = own(421, 4, 7, 0, "Too many errors from this address, try again later")
	ReplyLoginGone        = own(421, 4, 7, 0, "Login is no longer valid, log in again")
	ReplySessionEnded     = own(421, 4, 3, 2, "Session ended by the operator")
	ReplyShuttingDown     = own(421, 4, 3, 2, "Service shutting down")
	ReplyIdleTimeout      = own(421, 4, 4, 2, "Timeout, closing connection")
	ReplyHTTP             = own(421, 4, 7, 0, "This is SMTP, not HTTP, closing connection")
	ReplyEarlyTalker      = own(421, 4, 7, 0, "Client spoke before the greeting, closing connection")
	ReplyProxyHeader      = own(421, 4, 7, 0, "PROXY header out of place, closing connection")
	ReplyTooManyErrors    = own(421, 4, 7, 0, "Too many errors, closing connection")
	ReplyAuthRequired     = own(530, 5, 7, 0, "Authentication required")
	ReplyTLSRequired      = own(538, 5, 7, 11, "Encryption required for requested authentication mechanism")
	ReplyAuthFailed       = own(535, 5, 7, 8, "Authentication credentials invalid")
	ReplyAuthOK           = own(235, 2, 7, 0, "Authentication succeeded")
	ReplyAuthCancelled    = own(501, 5, 7, 0, "Authentication cancelled")
	ReplyAuthMalformed    = own(501, 5, 5, 2, "Cannot decode authentication response")
	ReplyAuthTooLong      = own(500, 5, 5, 6, "Authentication exchange line is too long")
	ReplyAuthMechanism    = own(504, 5, 5, 4, "Unrecognized authentication mechanism")
	ReplyAuthDone         = own(503, 5, 5, 1, "Already authenticated")
	ReplyAuthInMail       = own(503, 5, 5, 1, "AUTH not permitted during a mail transaction")
	ReplyAuthOverloaded   = own(454, 4, 7, 0, "Temporary authentication failure, try again later")
	ReplyReauthRequired   = own(454, 4, 7, 0, "The mailbox needs consent again: run `caddy smtp login` for this account")
	ReplyTokenUnavailable = own(454, 4, 7, 0, "The provider's token endpoint is unavailable, try again later")
	ReplyUpstreamAuth     = own(454, 4, 7, 0, "The provider refused the gateway's authentication for this account")
	ReplySenderRefused    = own(550, 5, 7, 1, "Sender address not allowed for this account")
	ReplyBadSequence      = own(503, 5, 5, 1, "Bad sequence of commands")
	ReplyNestedMail       = own(503, 5, 5, 1, "Sender already specified")
	ReplyNoRecipients     = own(503, 5, 5, 1, "No valid recipients")
	ReplyUnknownCommand   = own(500, 5, 5, 2, "Command not recognized")
	ReplyNotImplemented   = own(502, 5, 5, 1, "Command not implemented")
	ReplyLineTooLong      = own(500, 5, 5, 6, "Command line too long")
	ReplySyntax           = own(501, 5, 5, 4, "Syntax error in parameters or arguments")
	ReplyBadRecipient     = own(501, 5, 1, 3, "Bad recipient address syntax")
	ReplyBadSender        = own(501, 5, 1, 7, "Bad sender address syntax")
	ReplyControlChars     = own(501, 5, 5, 4, "Control characters are not allowed")
	ReplyUnknownParameter = own(555, 5, 5, 4, "Parameter not recognized or not implemented")
	ReplyTooBig           = own(552, 5, 3, 4, "Message exceeds the maximum size")
	ReplyTooManyRcpts     = own(452, 4, 5, 3, "Too many recipients")
	ReplyOneRecipient     = own(452, 4, 5, 3, "One recipient per transaction on this server")
	ReplyBareNewline      = own(554, 5, 6, 0, "Bare CR or LF in message, lines must end with CRLF")
	ReplyLineOverflow     = own(554, 5, 6, 0, "Message line too long")
	ReplyNoConnection     = own(451, 4, 3, 2, "No upstream connection available in time, try again later")
	ReplyLimitsNotStored  = own(451, 4, 3, 0, "Message counts cannot be stored, try again later")
	ReplyLimitsElsewhere  = own(451, 4, 3, 2, "Other nodes use what is left of the mailbox's limits, try again later")
	ReplyUpstreamDown     = own(451, 4, 4, 1, "Upstream unavailable, try again later")
	ReplyUpstreamLost     = own(451, 4, 4, 2, "Upstream connection lost before the end of data")
	ReplyDeliveryUnknown  = own(451, 4, 4, 2, "Upstream connection lost after the end of data, delivery unknown")
	ReplyUpstreamProtocol = own(451, 4, 5, 0, "Upstream sent an invalid reply")
	ReplyNo8BITMIME       = own(554, 5, 6, 3, "Upstream does not support 8BITMIME, which this message needs")
	ReplyNoSMTPUTF8       = own(550, 5, 6, 7, "Upstream does not support SMTPUTF8, which this message needs")
	ReplyNoUpstream       = own(451, 4, 3, 5, "The account's upstream is not configured")
	ReplyInternal         = own(451, 4, 3, 0, "Internal error, try again later")
	ReplyTLSActive        = own(503, 5, 5, 1, "TLS already active")
	ReplyNonASCII         = own(553, 5, 6, 7, "Non-ASCII address not permitted without SMTPUTF8")
	ReplyBareLF           = own(500, 5, 5, 2, "Line must end with CRLF")
	ReplyNUL              = own(554, 5, 6, 0, "NUL in message")
	ReplySpoolFull        = own(452, 4, 3, 1, "Spool is full, try again later")
	ReplySpoolFailed      = own(451, 4, 3, 0, "Message could not be spooled, try again later")
	ReplyPaused           = own(451, 4, 7, 1, "Account is paused, try again later")
)

// The gateway's own positive and intermediate replies.
var (
	ReplyOK          = own(250, 2, 0, 0, "OK")
	ReplySenderOK    = own(250, 2, 1, 0, "Sender OK")
	ReplyRecipientOK = own(250, 2, 1, 5, "Recipient OK")
	ReplyVRFY        = own(252, 2, 1, 5, "Cannot VRFY user, but will accept message and attempt delivery")
	ReplyHelp        = own(214, 2, 0, 0, "See RFC 5321 and https://github.com/caddymail/mailgateway")
	ReplyBye         = own(221, 2, 0, 0, "Closing connection")
	ReplyReadyTLS    = own(220, 2, 0, 0, "Ready to start TLS")
	ReplyStartData   = &Reply{Code: 354, Lines: []string{"End data with <CR><LF>.<CR><LF>"}}
)

// Greeting is the first line of a connection (RFC 5321 section 4.2: no
// enhanced code, RFC 2034 section 4).
func Greeting(hostname string) *Reply {
	return &Reply{Code: 220, Lines: []string{hostname + " ESMTP Mailgateway"}}
}

// Hello answers EHLO, or HELO where no extensions are given.
func Hello(hostname string, extensions ...string) *Reply {
	return &Reply{Code: 250, Lines: append([]string{hostname}, extensions...)}
}

// Challenge is a step of AUTH (RFC 4954 section 4); it is in base64 already.
func Challenge(encoded string) *Reply {
	return &Reply{Code: 334, Lines: []string{encoded}}
}

// ReplyChunk acknowledges a chunk that is not the last (RFC 3030 section 2).
func ReplyChunk(octets int64) *Reply {
	return own(250, 2, 0, 0, strconv.FormatInt(octets, 10)+" octets received")
}

// ReplyQuota says that a rate or quota is used up, with the time until the
// next slot, rounded up to whole seconds.
func ReplyQuota(what string, wait time.Duration) *Reply {
	secs := max(int64((wait+time.Second-1)/time.Second), 1)
	r := own(451, 4, 7, 1, what+" used up, next slot in "+strconv.FormatInt(secs, 10)+" s")
	r.After = wait
	return r
}

// ReplySpooled says that a message is durable and will be sent later.
func ReplySpooled(id string) *Reply { return own(250, 2, 0, 0, "Queued as "+id) }

// ReplyToken says in the token source's words why there is no access token.
func ReplyToken(text string) *Reply { return own(454, 4, 7, 0, text) }

// ReplyUpstreamAuthWords is ReplyUpstreamAuth with what the provider said.
func ReplyUpstreamAuthWords(r *Reply) *Reply {
	return own(454, 4, 7, 0, "The provider refused the gateway's authentication for this account: "+words(r))
}

// ReplyUpstreamMechanism says that the provider offers no login of the upstream's kind.
func ReplyUpstreamMechanism(name string) *Reply {
	return own(454, 4, 7, 0, "The provider does not announce mechanism "+name)
}

// ReplyUpstreamSession says that the provider lost the order of the session, in
// its words.
func ReplyUpstreamSession(r *Reply) *Reply {
	return own(451, 4, 5, 0, "The provider lost the gateway's session: "+words(r))
}

// ReplyUpstreamBusy says that the provider limits the account's logins or
// connections for now, in the provider's words.
func ReplyUpstreamBusy(r *Reply) *Reply {
	return own(451, 4, 3, 2, "The provider limits this account's connections: "+words(r))
}

// ReplyUpstreamRefused says in the provider's words that it takes no connection from
// the gateway: it refused with its greeting, or before any login.
func ReplyUpstreamRefused(r *Reply) *Reply {
	subject, detail := 3, 2
	if r.Code >= 500 {
		subject, detail = 7, 1 // a policy of the provider's
	}
	return own(451, 4, subject, detail, upstreamRefused+words(r))
}

const upstreamRefused = "The provider refuses the gateway's connection: "

// Unreachable reports whether a reply's text is one of those that a message hears
// whose upstream takes no connections, of whatever account.
func Unreachable(text string) bool {
	return text == ReplyUpstreamDown.Error() || strings.HasPrefix(text, "451 4.3.2 "+upstreamRefused) ||
		strings.HasPrefix(text, "451 4.7.1 "+upstreamRefused)
}

// words is the first line of a provider's reply, short enough to be quoted.
func words(r *Reply) string {
	s := r.Error()
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}

func own(code, class, subject, detail int, text string) *Reply {
	return NewReply(code, smtp.EnhancedCode{class, subject, detail}, text)
}
