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

package smtpserver

import (
	"io"

	"github.com/emersion/go-smtp"

	"github.com/caddymail/mailgateway/relay"
)

// Session is what stands behind a connection: it knows who the client is and
// what becomes of its mail. The connection knows the protocol: it keeps the
// sequence of commands, so that a session need not check it. All its methods
// are called on the connection's own goroutine, within Serve.
//
// An error of Login, Mail, Rcpt or Data is the reply that the client hears: a
// *relay.Reply or an error that wraps one; a *ClosingError ends the connection too,
// and anything else is answered with relay.ReplyInternal.
type Session interface {
	// Config returns what is in force now: nil once the server is gone. It
	// is asked before EHLO, AUTH, STARTTLS and MAIL; within a transaction
	// the answer to MAIL stands.
	Config() *Config

	// Network returns what is known of the client by its address. It is
	// asked once.
	Network() Network
	// Hello is told the name that the client gives itself.
	Hello(name string)
	// StartedTLS is told of a handshake. What was said before it is void
	// (RFC 3207 section 4.2): a login too.
	StartedTLS()

	// MayLogin reports whether a password may cross the connection as it is.
	MayLogin() bool
	// Login checks a name and a password.
	Login(name, password string) error

	// Mail begins a transaction. It holds opts no longer than the call.
	Mail(from string, opts *smtp.MailOptions) error
	// Rcpt adds recipients that came in one flight and puts the answer to
	// each in its place: nil for one that is accepted.
	Rcpt(rcpts []relay.Recipient, answers []error)
	// Data sends the message and returns the final word. It is called once
	// in a transaction, and only with a recipient accepted. body fails with
	// something other than io.EOF if the message must not be delivered.
	Data(body io.Reader) (*relay.Reply, error)
	// Whole sends a message whose client did not wait for the answer to its only
	// recipient, with Config.OneFlight in place of Rcpt and Data. refused is the
	// answer to the recipient unless that was accepted: the rest is the answer to
	// the message, as from Data.
	Whole(rcpt *relay.Recipient, body io.Reader) (refused error, reply *relay.Reply, err error)
	// Stalled reports whether a transaction is to end whose client does nothing
	// for it: others wait for what it holds, or that is gone. It is asked
	// between Rcpt and Finish, within Data by the body's Read.
	Stalled() bool
	// Finish is told what became of a transaction that Mail began, once for
	// each, whether a message came or not. Nothing is left open after it. It
	// may add to the words of a positive reply before the client hears them.
	Finish(*Result)

	// Refused is told of what the connection refuses by itself.
	Refused(Refusal)
}

// Network is what is known of a client by its address.
type Network struct {
	// Trusted clients may send without a login.
	Trusted bool
	// LFOnly clients may end every line with LF alone: also the last one of a
	// message.
	LFOnly bool
}

// Result is what became of a transaction.
type Result struct {
	// Reply is the final word on the message. It is nil if there was no
	// message, or if the client did not wait for the word.
	Reply *relay.Reply
	// Data reports whether a message was begun.
	Data bool
	// Size is the message's size in octets, as far as it was read.
	Size int64
	// Tried and Accepted count recipients.
	Tried, Accepted int
	// LastRefusal is the answer to the last recipient that was refused.
	LastRefusal *relay.Reply
}

// ClosingError is an error of a Session after which the connection ends.
type ClosingError struct {
	// Reply is the last that the client hears.
	Reply *relay.Reply
	// End is how the connection is said to have ended.
	End End
}

// Error implements error.
func (c *ClosingError) Error() string { return c.Reply.Error() }

// Unwrap returns the reply.
func (c *ClosingError) Unwrap() error { return c.Reply }

// End says how a connection ended, as the metrics call it.
type End string

// The ends of a connection.
const (
	EndQuit     End = "quit"
	EndEOF      End = "eof"
	EndTimeout  End = "timeout"
	EndShutdown End = "shutdown"
	EndErrors   End = "errors"
	EndTLS      End = "tls_failed"
	EndIO       End = "io_error"
	EndAuth     End = "auth_failures"
	EndAborted  End = "aborted" // within a message
	EndBanned   End = "banned"
	EndPanic    End = "panic"
)

// Refusal is something that the client did wrong and was told so, or could not
// be told.
type Refusal struct {
	// Cause is why.
	Cause Cause
	// Reply is what the client heard; nil if it heard nothing.
	Reply *relay.Reply
	// Detail says more: the command without its arguments, what a handshake
	// offered. It is the client's word in part, so that whatever shows it
	// must escape it; it never holds a secret.
	Detail string
}

// Cause is why something was refused. The set is closed, so that a cause may
// be a label.
type Cause string

// The causes that a connection knows.
const (
	// CauseSyntax is a command, address or parameter that is malformed.
	CauseSyntax Cause = "syntax"
	// CauseParameter is an ESMTP parameter that is not known (555).
	CauseParameter Cause = "parameter"
	// CauseUnknownCommand is a command that is not known or not offered.
	CauseUnknownCommand Cause = "unknown_command"
	// CauseBadSequence is a command out of order.
	CauseBadSequence Cause = "bad_sequence"
	// CauseTooLong is a command line beyond the limit.
	CauseTooLong Cause = "too_long"
	// CauseTooManyErrors closes a connection after too many of the others.
	CauseTooManyErrors Cause = "too_many_errors"
	// CauseTooManyCommands closes a connection that does nothing useful.
	CauseTooManyCommands Cause = "too_many_commands"
	// CauseAuthRequired is mail without a login.
	CauseAuthRequired Cause = "auth_required"
	// CauseTLSRequired is a login in the clear where that may not be.
	CauseTLSRequired Cause = "tls_required"
	// CauseAuthMechanism is a mechanism that is not offered.
	CauseAuthMechanism Cause = "auth_mechanism"
	// CauseAuthMalformed is an exchange that is not what its mechanism wants.
	CauseAuthMalformed Cause = "auth_malformed"
	// CauseAuthIdentity is a login on behalf of another.
	CauseAuthIdentity Cause = "auth_identity"
	// CauseBareLF is a command that ends in a lone LF.
	CauseBareLF Cause = "bare_lf"
	// CauseBareNewline is a message with a CR or LF that stands alone.
	CauseBareNewline Cause = "bare_newline"
	// CauseContent is a message with NUL or with a line without end.
	CauseContent Cause = "content"
	// CauseTooBig is a message beyond the limit, declared or sent.
	CauseTooBig Cause = "too_big"
	// CauseTooManyRecipients is a recipient beyond the limit.
	CauseTooManyRecipients Cause = "too_many_recipients"
	// CauseHTTP is a web client.
	CauseHTTP Cause = "http"
	// CauseEarlyTalker is a client that spoke before the greeting.
	CauseEarlyTalker Cause = "early_talker"
	// CauseProxyHeader is a PROXY header that a listener wrapper did not
	// take, or that did not come where it must.
	CauseProxyHeader Cause = "proxy_header"
	// CauseTimeout is a client that was silent for too long between commands.
	CauseTimeout Cause = "timeout"
	// CauseMessageTimeout is a client that was silent, or too slow, within a
	// message.
	CauseMessageTimeout Cause = "message_timeout"
	// CauseLoginTimeout is a client that took too long to log in.
	CauseLoginTimeout Cause = "login_timeout"
	// CauseStalled is a client that does not go on with its message while
	// others wait.
	CauseStalled Cause = "stalled_message"
	// CauseClientGone is a client that left before it heard the final word
	// on its message: it will send it again.
	CauseClientGone Cause = "client_gone_before_reply"
	// CauseAborted is a client that left within a message, of which nothing
	// was delivered.
	CauseAborted Cause = "client_gone_in_message"

	// CauseCertificateRefused is a client that does not trust our certificate.
	CauseCertificateRefused Cause = "tls_certificate_refused"
	// CauseTLSVersion is a client whose TLS is too old.
	CauseTLSVersion Cause = "tls_version"
	// CauseTLSCipher is a client with no cipher suite in common with us.
	CauseTLSCipher Cause = "tls_cipher"
	// CauseClientCertificate is a client whose certificate we refuse, or
	// that has none where one is needed.
	CauseClientCertificate Cause = "tls_client_certificate"
	// CauseTLSOnPlainPort is a handshake where SMTP should come.
	CauseTLSOnPlainPort Cause = "tls_on_plain_port"
	// CausePlaintextOnTLSPort is SMTP where a handshake should come.
	CausePlaintextOnTLSPort Cause = "plaintext_on_tls_port"
	// CauseTLSFailed is any other handshake that failed.
	CauseTLSFailed Cause = "tls_failed"
)
