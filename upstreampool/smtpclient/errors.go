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
	"errors"
	"net"

	"github.com/caddymail/mailgateway/relay"
)

// Class says whose fault a connection is that could not be opened, and so what
// follows from it.
type Class int

const (
	FailConnect   Class = iota // unreachable, TLS, greeting
	FailDown                   // not tried: the caller's breaker is open
	FailLocal                  // the local address, or no descriptor is left
	FailLost                   // lost during the login
	FailToken                  // the caller had no access token
	FailLogin                  // the provider refused the credentials
	FailThrottled              // the provider limits logins: 421, 454
	FailBusy                   // the provider limits connections: 432
	FailLimits                 // the caller may not open it any more: others may have its place
	// Classes is the number of them.
	Classes
)

// String returns the class as the metric of dials has it.
func (c Class) String() string {
	switch c {
	case FailDown:
		return "breaker_open"
	case FailLocal:
		return "local_error"
	case FailToken:
		return "token_error"
	case FailLogin:
		return "auth_refused"
	case FailThrottled:
		return "throttled"
	case FailBusy:
		return "busy"
	case FailLimits:
		return "not_lent"
	}
	return "connect_error"
}

// Error says why a connection could not be opened: to the log, and to the
// client in the words of Reply.
type Error struct {
	Class Class
	Stage string
	Reply *relay.Reply
	Err   error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Stage + ": " + e.Reply.Error()
	}
	return e.Stage + ": " + e.Err.Error()
}

// Unwrap returns what the client is told.
func (e *Error) Unwrap() error { return e.Reply }

// ChallengeError is a refused login with the challenge that explained it.
type ChallengeError struct {
	Err       error
	Challenge string
}

// Error implements error.
func (e *ChallengeError) Error() string { return e.Err.Error() }

// Unwrap returns the refusal.
func (e *ChallengeError) Unwrap() error { return e.Err }

// FlightError is a connection that failed during a flight.
type FlightError struct {
	Err     error
	Replies int          // that came before
	Code    int          // of a 421, or of a refusal that means a forgotten session
	Reply   *relay.Reply // the provider's last words
	Forgot  bool         // the provider has forgotten the session
}

// Error implements error.
func (e *FlightError) Error() string { return e.Err.Error() }

// Unwrap returns what broke the connection.
func (e *FlightError) Unwrap() error { return e.Err }

var (
	errForgotten = errors.New("the provider has forgotten the session")
	errClosing   = errors.New("the provider closes the connection")
)

// Replaceable reports whether the first flight failed as it does on a
// connection that was closed while it was idle: no reply came, or the goodbye
// in the place of MAIL's, or the provider no longer knew the session.
func Replaceable(err error) bool {
	fe, ok := errors.AsType[*FlightError](err)
	return ok && (fe.Forgot || fe.Replies == 0 && !timedOut(fe.Err) && !errors.Is(fe.Err, relay.ErrReply))
}

// Ended reports whether the connection ended amid a flight, between replies or within
// one. MAIL and RCPT commit nothing: the flight can be sent anew as a whole. What the
// provider said of it, a goodbye among it, is an answer instead, and so is a wait.
func Ended(err error) bool {
	fe, ok := errors.AsType[*FlightError](err)
	return ok && fe.Code == 0 && !timedOut(fe.Err) && !errors.Is(fe.Err, relay.ErrReply)
}

// Confused reports whether a flight of n recipients failed as it does at a
// provider that announces PIPELINING and loses what follows the first command,
// or takes it amiss: MAIL was answered, and then not all of the rest.
func Confused(err error, n int) bool {
	fe, ok := errors.AsType[*FlightError](err)
	return ok && fe.Replies >= 1 && fe.Replies <= n && (!fe.Forgot || fe.Code == 503)
}

// LostReply is what the client hears of a connection that failed before the
// end of data: the provider's goodbye if there was one.
func LostReply(err error) *relay.Reply {
	if fe, ok := errors.AsType[*FlightError](err); ok && fe.Reply != nil {
		return fe.Reply
	}
	if errors.Is(err, relay.ErrReply) {
		return relay.ReplyUpstreamProtocol
	}
	return relay.ReplyUpstreamLost
}

// timedOut reports whether err is a deadline's.
func timedOut(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
