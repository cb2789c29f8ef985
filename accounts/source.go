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
	"context"
	"fmt"
)

// Source is where accounts come from: a guest module in the namespace
// `smtp.accounts`.
type Source interface {
	// Name is what Account.Source says.
	Name() string

	// Index holds the source's accounts. It is always the same one, and
	// usable as soon as the module is provisioned.
	Index() *Index

	// Start begins to follow changes. It does not wait.
	Start() error

	// Stop gives back what Start took, and waits for its goroutines.
	Stop()

	// Problems are the records that could not be used.
	Problems() []Problem
}

// Reloader is a Source that can be told to look for changes now.
type Reloader interface {
	Reload(ctx context.Context) error
}

// Loader is a Source that may have accounts that are not in its index yet:
// it is asked for names that are missing while the index is still loading,
// and is told of names that nobody knows.
type Loader interface {
	// Load looks for one account. A nil account without an error means
	// that there is none.
	Load(ctx context.Context, name string) (*Account, error)

	// Missed is called after a failed lookup. It must not wait.
	Missed(name string)
}

// Confirmer is a Loader whose index holds what it has read a while ago.
type Confirmer interface {
	Loader

	// Confirm is called behind a password that was not let in, of a name that is in an
	// index, this source's or an earlier one's. It looks for the name as often as Load
	// looks for one that nobody has, so that neither the time of a refusal nor a failure
	// tells one from the other, and returns what there is now.
	Confirm(ctx context.Context, name string) (*Account, error)
}

// Problem is a record that could not be used. It never stops the others.
type Problem struct {
	// Source is the account source's name.
	Source string `json:"source"`
	// File is the path, or the storage key, of the record.
	File string `json:"file,omitempty"`
	// Line counts from 1; 0 where there are no lines.
	Line int `json:"line,omitempty"`
	// Account is the record's name, as far as it is known.
	Account string `json:"account,omitempty"`
	// Field is the JSON name of the field at fault, if one is.
	Field string `json:"field,omitempty"`
	// Message says what is wrong, without the value of any secret.
	Message string `json:"message"`
	// Kept tells that the account's previous version is still in use.
	Kept bool `json:"kept,omitempty"`

	unread bool
}

// Unread is the problem of a source that cannot be read: its records may be in order.
func Unread(source string, err error, kept bool) Problem {
	return Problem{Source: source, Message: "cannot be read: " + err.Error(), Kept: kept, unread: true}
}

// Unread reports whether the source could not be read.
func (p Problem) Unread() bool { return p.unread }

// String returns the problem in one line.
func (p Problem) String() string {
	s := p.File
	if s == "" {
		s = p.Source
	}
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, p.Line)
	}
	if p.Account != "" {
		s += fmt.Sprintf(": account %q", p.Account)
	}
	if p.Field != "" {
		s += fmt.Sprintf(": field '%s'", p.Field)
	}
	return s + ": " + p.Message
}

// ProblemError is a problem that a caller has to know of.
type ProblemError struct{ Problem }

// Error implements error.
func (e ProblemError) Error() string { return e.String() }

// Interface guards
var (
	_ fmt.Stringer = Problem{}
	_ error        = ProblemError{}
)
