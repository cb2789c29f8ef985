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
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/form"
)

// The bounds of a record. They are far above what a provider accepts; they
// keep one record from becoming a burden to all.
const (
	maxNameLen   = 256 // octets; RFC 5321 section 4.5.3.1.3 has 256 for a path
	maxSecretLen = 64 << 10
	maxHashes    = 16
	maxSenders   = 1000
	maxLabels    = 64
	maxLabelLen  = 1024
)

// FieldError says what is wrong with one field of a record. It never holds the
// value of a secret.
type FieldError struct {
	Account string // the record's name, as far as it is known
	Field   string // the JSON name, with an index or key where there is one
	Err     error
}

// Error implements error.
func (e *FieldError) Error() string {
	var b strings.Builder
	if e.Account != "" {
		fmt.Fprintf(&b, "account %q: ", e.Account)
	}
	if e.Field != "" {
		fmt.Fprintf(&b, "field '%s': ", e.Field)
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// Compile checks a record and makes an account of it. The error is a
// *FieldError. Whether the upstream exists is not checked here: upstreams and
// accounts change independently of each other.
func Compile(r Record, source string) (*Account, error) {
	fail := func(field string, err error) (*Account, error) {
		e := &FieldError{Field: field, Err: err}
		if field != "name" {
			e.Account = r.Name
		}
		return nil, e
	}
	if err := CheckName(r.Name); err != nil {
		return fail("name", err)
	}
	if strings.TrimSpace(r.Name) != r.Name {
		return fail("name", errors.New("must not begin or end with a space"))
	}
	for _, f := range [...]struct {
		name, value string
		limit       int
		required    bool
	}{
		{"upstream", r.Upstream, maxNameLen, true},
		// The mailbox becomes `user=` in XOAUTH2, where ^A separates the
		// fields: a control character in it would forge others.
		{"mailbox", r.Mailbox, maxNameLen, false},
		{"refresh_token", r.RefreshToken, maxSecretLen, false},
		{"secret", r.Secret, maxSecretLen, false},
	} {
		if err := checkText(f.value, f.limit, f.required); err != nil {
			return fail(f.name, err)
		}
	}

	a := &Account{Record: r, Source: source, key: FoldName(r.Name), made: made.Add(1)}
	if a.Mailbox == "" {
		a.Mailbox = a.Name
	}

	if len(r.PasswordHashes) > maxHashes {
		return fail("password_hashes", fmt.Errorf("more than %d hashes", maxHashes))
	}
	for i, s := range r.PasswordHashes {
		h, err := password.Parse(s)
		if err != nil {
			return fail("password_hashes["+strconv.Itoa(i)+"]", err)
		}
		a.hashes = append(a.hashes, h)
	}
	a.hashes = password.FastFirst(a.hashes)
	a.profile = password.ProfileOf(a.hashes)

	if len(r.Senders) > maxSenders {
		return fail("senders", fmt.Errorf("more than %d patterns", maxSenders))
	}
	for i, s := range r.Senders {
		p, err := parseSenderPattern(s)
		if err != nil {
			return fail("senders["+strconv.Itoa(i)+"]", err)
		}
		a.senders = append(a.senders, p)
	}

	if r.Limits != nil && r.Limits.MaxConns < 0 {
		return fail("limits.max_conns", errors.New("must not be negative"))
	}
	if r.SourceIP != "" {
		ip, err := netip.ParseAddr(r.SourceIP)
		switch {
		case err != nil || ip.Zone() != "":
			return fail("source_ip", form.IP.Check(r.SourceIP))
		case ip.IsUnspecified() || ip.IsMulticast():
			return fail("source_ip", errors.New("want the address of an interface, not an unspecified or multicast one"))
		}
		a.sourceIP = ip.Unmap()
	}
	if field, err := checkSpool(&r); err != nil {
		return fail(field, err)
	}
	if field, err := checkLabels(r.Labels); err != nil {
		return fail(field, err)
	}
	return a, nil
}

// checkSpool returns the field at fault.
func checkSpool(r *Record) (field string, err error) {
	switch r.Spool {
	case "", SpoolOn, SpoolAlways, SpoolOff:
	default:
		return "spool", form.OneOf(SpoolOn, SpoolAlways, SpoolOff).Check(r.Spool)
	}
	if r.Reports != "" {
		if err := checkText(r.Reports, maxNameLen, true); err != nil {
			return "reports", err
		}
		if at := strings.LastIndexByte(r.Reports, '@'); at <= 0 || at == len(r.Reports)-1 || strings.ContainsAny(r.Reports, " <>") {
			return "reports", form.Mailbox.Check(r.Reports)
		}
	}
	return "", nil
}

func checkLabels(all map[string]string) (field string, err error) {
	if len(all) > maxLabels {
		return "labels", fmt.Errorf("more than %d labels", maxLabels)
	}
	for k, v := range all {
		if err := checkText(k, maxLabelLen, true); err != nil {
			return "labels", fmt.Errorf("a label's name: %w", err)
		}
		if err := checkText(v, maxLabelLen, false); err != nil {
			return "labels." + k, err
		}
	}
	return "", nil
}

// CheckName reports what is wrong with the name of an account, if anything is.
func CheckName(name string) error { return checkText(name, maxNameLen, true) }

func checkText(s string, limit int, required bool) error {
	switch {
	case s == "" && required:
		return errors.New("must not be empty")
	case len(s) > limit:
		return fmt.Errorf("longer than %d octets", limit)
	case !utf8.ValidString(s):
		return errors.New("not valid UTF-8")
	case strings.ContainsFunc(s, isControl):
		return errors.New("control characters are not allowed")
	}
	return nil
}

// isControl also refuses what Unicode takes for a line break.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// FoldName returns a name with its ASCII letters in lower case. Other letters
// are left alone: no folding of theirs is agreed on for mailboxes (RFC 6530
// section 10.1).
func FoldName(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lowerASCII(b[j])
			}
			return string(b)
		}
	}
	return s
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Interface guards
var _ error = (*FieldError)(nil)
