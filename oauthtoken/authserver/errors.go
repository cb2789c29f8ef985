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

package authserver

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/printable"
	"github.com/caddymail/mailgateway/internal/redact"
)

// Class is what an error means for the next steps.
type Class uint8

const (
	// ClassTransient may be gone at the next attempt.
	ClassTransient Class = iota
	// ClassTemporary does not go away by asking again at once, yet no
	// consent is lost: configuration, an answer that makes no sense.
	ClassTemporary
	// ClassProvider is trouble of the client registration: every account
	// of the provider would get the same answer.
	ClassProvider
	// ClassReauth needs a human to consent again.
	ClassReauth
	// ClassStore is a token store that does not read or write.
	ClassStore
	// ClassDamaged is a token record that cannot be read.
	ClassDamaged
)

// Error is why there is no access token. It never holds token material.
type Error struct {
	// Provider and Account say whose token it was; Account is empty where
	// one token serves the whole provider.
	Provider, Account string
	// Code is the OAuth error code (RFC 6749 section 5.2), Reason the
	// provider's own code, such as AADSTS700082.
	Code, Reason string
	// Subtype is Google's error_subtype.
	Subtype string
	// Description is the server's text or what went wrong on the way.
	Description string
	// Status is the HTTP status, 0 without a response.
	Status int
	// RetryAfter is how long the server asked us to stay away.
	RetryAfter time.Duration

	// Class is what the error means for the next steps.
	Class Class
	// AppOnly says that the app asked in its own name: there is no owner who
	// could consent.
	AppOnly bool
	// Quiet says that no request was made, since the trouble is known and
	// was told already.
	Quiet bool
	// Err is the cause, if it is not the server's answer.
	Err error

	rotated string
}

// Rotated is the refresh token, a secret, of an answer that was no refusal and
// yet of no use: the token that was sent may be spent by it.
func (e *Error) Rotated() string { return e.rotated }

// Error implements error.
func (e *Error) Error() string {
	var parts []string
	switch {
	case e.Provider != "" && e.Account != "":
		parts = append(parts, "provider '"+e.Provider+"', account '"+e.Account+"'")
	case e.Provider != "":
		parts = append(parts, "provider '"+e.Provider+"'")
	}
	switch {
	case e.Class != ClassReauth || e.AppOnly || e.Passing():
	case e.Code == "no_refresh_token":
		parts = append(parts, "needs consent")
	default:
		parts = append(parts, "needs consent again")
	}
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	s := strings.Join(parts, ": ")
	if e.Status != 0 && e.Code == "" {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return s
}

// Unwrap returns the cause, if it is not the server's answer.
func (e *Error) Unwrap() error { return e.Err }

// ReauthRequired reports whether only the owner's consent can help.
func (e *Error) ReauthRequired() bool {
	return e.Class == ClassReauth && !e.AppOnly && !e.Passing()
}

// Temporary reports whether the same call may work later.
func (e *Error) Temporary() bool { return !e.ReauthRequired() }

// With returns a copy of e that names whose error it is. Errors are shared
// by the waiters of one refresh, so they are never changed in place.
func (e *Error) With(provider, account string) *Error {
	c := *e
	c.Provider, c.Account = provider, account
	return &c
}

// Because returns a copy of e that has one more cause.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = errors.Join(e.Err, err)
	return &c
}

func AsError(err error, class Class) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Description: Sanitize(err.Error()), Class: class, Err: err}
}

var (
	reasonCode = regexp.MustCompile(`\bAADSTS[0-9]{4,8}\b`)
	// A token, or its base64, with or without padding.
	longRun = regexp.MustCompile(`[A-Za-z0-9_\-.~+/=%]{40,}`)
)

// Sanitize makes foreign text fit for logs and replies: one line, bounded,
// printable, without the secrets that were sent, whole or in part, and without
// anything else that could be a token.
func Sanitize(s string, secrets ...string) string {
	s = redact.Text(printable.Cut(s, 4*maxText), secrets...)
	return OneLine(longRun.ReplaceAllString(s, redact.Mark))
}

const maxText = 400

// OneLine makes text printable, one line and short.
func OneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, printable.Cut(s, 4*maxText))
	return printable.Cut(strings.Join(strings.Fields(s), " "), maxText)
}
