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

package accounts

import (
	"errors"

	"github.com/caddymail/mailgateway/accounts/password"
)

// What Authenticate answers.
var (
	// ErrBadCredentials means an unknown name, an account without a
	// password, or a wrong password: clients must not learn which.
	ErrBadCredentials = errors.New("wrong name or password")

	// ErrPaused means that the password is right and the account paused.
	ErrPaused = errors.New("account is paused")

	// ErrOverloaded means that the password was not checked, and may be
	// checked later.
	ErrOverloaded = password.ErrOverloaded

	// ErrUnavailable means that a source could not be read. It is an
	// ErrOverloaded too: nothing is known of the password.
	ErrUnavailable error = unavailableError{}
)

// What a change of an account answers.
var (
	// ErrNotFound means that there is no such account.
	ErrNotFound = errors.New("no such account")

	// ErrReadOnly means that the account comes from a source that cannot
	// be changed here, or that there is no other.
	ErrReadOnly = errors.New("account cannot be changed here")

	// ErrPrecondition means that the account is not in the version that
	// the change was made for (RFC 9110 section 13.1).
	ErrPrecondition = errors.New("account is in another version")

	// ErrSealed means that the stored record cannot be opened with the
	// configured keys. It is left as it is.
	ErrSealed = errors.New("stored account cannot be opened with the configured encryption keys")
)

type unavailableError struct{}

// Error implements error.
func (unavailableError) Error() string { return "account source unavailable" }

// Is makes it an ErrOverloaded.
func (unavailableError) Is(target error) bool { return target == ErrOverloaded }
