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
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/caddymail/mailgateway/accounts/password"
)

// Version tells one state of an account from another: it is what entity tags
// are made of. That of a dynamic account is stored with it; that of any other
// holds for the life of the process.
func (a *Account) Version() string {
	if a.revision != "" {
		return a.revision
	}
	data, err := EncodeRecord(a.Record)
	if err != nil {
		return ""
	}
	// Keyed, since a bare digest would let whoever sees it try secrets.
	return hex.EncodeToString(password.Process().MAC([]byte("version\x00"), data)[:8])
}

// ETag returns the version as a strong entity tag (RFC 9110 section 8.8.3).
func (a *Account) ETag() string { return `"` + a.Version() + `"` }

// Condition is what must hold of an account for a change to be made. The zero
// value always holds.
type Condition struct {
	// Exists demands an account (If-Match: *).
	Exists bool
	// Absent demands that there is none (If-None-Match: *).
	Absent bool
	// Versions demands an account in one of these (If-Match).
	Versions []string
}

// ParseCondition reads the values of the headers If-Match and If-None-Match
// (RFC 9110 sections 13.1.1 and 13.1.2); of the latter, only `*` has a meaning
// for changes.
func ParseCondition(ifMatch, ifNoneMatch string) (Condition, error) {
	var c Condition
	switch strings.TrimSpace(ifNoneMatch) {
	case "":
	case "*":
		c.Absent = true
	default:
		return c, fmt.Errorf("header If-None-Match: only * is supported")
	}
	switch ifMatch = strings.TrimSpace(ifMatch); ifMatch {
	case "":
	case "*":
		c.Exists = true
	default:
		for tag := range strings.SplitSeq(ifMatch, ",") {
			tag = strings.TrimSpace(tag)
			if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
				return c, fmt.Errorf("header If-Match: want entity tags in double quotes, or *")
			}
			c.Versions = append(c.Versions, tag[1:len(tag)-1])
		}
	}
	return c, nil
}

// Check compares with the account as it is, which is nil if there is none.
func (c Condition) Check(a *Account) error {
	if c.Absent && a != nil {
		return fmt.Errorf("%w: it exists", ErrPrecondition)
	}
	if (c.Exists || len(c.Versions) > 0) && a == nil {
		return fmt.Errorf("%w: it does not exist", ErrPrecondition)
	}
	if len(c.Versions) == 0 {
		return nil
	}
	if !slices.Contains(c.Versions, a.Version()) {
		return ErrPrecondition
	}
	return nil
}
