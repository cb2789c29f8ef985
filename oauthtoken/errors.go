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

package oauthtoken

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/redact"
)

// errClass is what an error means for the next steps.
type errClass uint8

const (
	// classTransient may be gone at the next attempt.
	classTransient errClass = iota
	// classTemporary does not go away by asking again at once, yet no
	// consent is lost: configuration, an answer that makes no sense.
	classTemporary
	// classProvider is trouble of the client registration: every account
	// of the provider would get the same answer.
	classProvider
	// classReauth needs a human to consent again.
	classReauth
	// classStore is a token store that does not read or write.
	classStore
	// classDamaged is a token record that cannot be read.
	classDamaged
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

	class errClass
	// appOnly says that the app asked in its own name: there is no owner who
	// could consent.
	appOnly bool
	// quiet says that no request was made, since the trouble is known and
	// was told already.
	quiet bool
	err   error
}

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
	case e.class != classReauth || e.appOnly || e.passing():
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
func (e *Error) Unwrap() error { return e.err }

// ReauthRequired reports whether only the owner's consent can help.
func (e *Error) ReauthRequired() bool {
	return e.class == classReauth && !e.appOnly && !e.passing()
}

// Temporary reports whether the same call may work later.
func (e *Error) Temporary() bool { return !e.ReauthRequired() }

// with returns a copy of e that names whose error it is. Errors are shared
// by the waiters of one refresh, so they are never changed in place.
func (e *Error) with(provider, account string) *Error {
	c := *e
	c.Provider, c.Account = provider, account
	return &c
}

func asError(err error, class errClass) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Description: sanitize(err.Error()), class: class, err: err}
}

var (
	reasonCode = regexp.MustCompile(`\bAADSTS[0-9]{4,8}\b`)
	// A token, or its base64, with or without padding.
	longRun = regexp.MustCompile(`[A-Za-z0-9_\-.~+/=%]{40,}`)
)

// sanitize makes foreign text fit for logs and replies: one line, bounded,
// printable, without the secrets that were sent, whole or in part, and without
// anything else that could be a token.
func sanitize(s string, secrets ...string) string {
	s = redact.Text(bound(s, 4*maxText), secrets...)
	return oneLine(longRun.ReplaceAllString(s, redact.Mark))
}

const maxText = 400

func bound(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "..."
	}
	return s
}

// oneLine makes text printable, one line and short.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, bound(s, 4*maxText))
	return bound(strings.Join(strings.Fields(s), " "), maxText)
}
