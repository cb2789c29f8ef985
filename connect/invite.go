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

package connect

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/caddymail/mailgateway/operate"
)

// Request asks for an invitation.
type Request struct {
	// Account is whose mailbox's owner is invited.
	Account string `json:"account"`
	// InvitedBy is shown to the owner. Default: nobody is named.
	InvitedBy string `json:"invited_by,omitempty"`
	// Delegate is who is to sign in for a shared mailbox. Default: the mailbox.
	Delegate string `json:"delegate,omitempty"`
	// Expires is how long the invitation is good for, as in `48h`, up to 90
	// days. Default: what the handler says.
	Expires string `json:"expires,omitempty"`
}

// Invited is a new invitation with its link, which is shown this once.
type Invited struct {
	Invitation
	Link string `json:"link"`
}

// FieldError is about one field of a request.
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

func fieldError(field, format string, args ...any) error {
	return &FieldError{field, fmt.Errorf(format, args...)}
}

// maxText bounds what the pages show of a request.
const maxText = 200

// Invite makes an invitation to the pages of the running configuration.
func Invite(ctx context.Context, r Request) (Invited, error) {
	site, err := Current()
	if err != nil {
		return Invited{}, err
	}
	for field, text := range map[string]string{"invited_by": r.InvitedBy, "delegate": r.Delegate} {
		if len(text) > maxText || strings.ContainsFunc(text, unicode.IsControl) {
			return Invited{}, fieldError(field, "want up to %d octets of text in one line", maxText)
		}
	}
	expires := site.Expires
	if r.Expires != "" {
		if expires, err = time.ParseDuration(r.Expires); err != nil || expires < time.Minute || expires > MaxExpiry {
			return Invited{}, fieldError("expires", "want a duration from 1m to %dh", int(MaxExpiry.Hours()))
		}
	}
	dir, err := operate.Directory()
	if err != nil {
		return Invited{}, err
	}
	if r.Account == "" {
		return Invited{}, fieldError("account", "must not be empty")
	}
	a, err := dir.Get(ctx, r.Account)
	if err != nil {
		return Invited{}, err
	}
	p, err := ProviderOf(a)
	if err != nil {
		return Invited{}, err
	}
	switch {
	case !p.HasLogin():
		return Invited{}, fieldError("account", "provider '%s' needs no consent of owners: its grant is '%s'", p.Name(), p.Grant)
	case !p.SaysOwner() && !site.Unidentified:
		return Invited{}, fieldError("account", "provider '%s' does not say who consents: `unidentified` of smtp_connect accepts that", p.Name())
	}
	token, added, err := site.Invitations.Add(ctx, Invitation{
		Account: a.Name, Mailbox: a.Mailbox, Delegate: r.Delegate, InvitedBy: r.InvitedBy, Expires: time.Now().Add(expires),
	})
	return Invited{added, site.Link(token)}, err
}
