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

package ldap

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// bars are attributes that say why an entry may not log in although its password is
// right: for good, until somebody unlocks it, or at this time.
var bars = []string{"pwdAccountLockedTime", "pwdStartTime", "pwdEndTime", "userAccountControl", "lockoutTime", "nsAccountLock", "accountUnlockTime", "loginDisabled", "lockedByIntruder"}

// What Active Directory and eDirectory say of a refusal, in its text.
var (
	windowsCode = regexp.MustCompile(`AcceptSecurityContext error, data ([0-9a-fA-F]+)`)
	novellCode  = regexp.MustCompile(`NDS error: .*\((-\d+)\)`)
)

// reason is what a directory says of invalidCredentials, or unknown. Directories say
// that for a locked entry, a password that must be changed first, a time at which
// nobody may log in and more, as they do for a wrong password.
func reason(err error, result *ldap.SimpleBindResult) answer {
	if result != nil {
		for _, control := range result.Controls {
			switch c := control.(type) {
			case *ldap.ControlBeheraPasswordPolicy: // draft-behera-ldap-password-policy-10 section 6.2
				if c.Error >= 0 {
					return refused
				}
			case *ldap.ControlVChuPasswordMustChange: // of 389 Directory Server, also for one that has expired
				return refused
			}
		}
	}
	for code, wrong := range map[*regexp.Regexp]string{windowsCode: "52e", novellCode: "-669"} {
		if m := code.FindStringSubmatch(err.Error()); m != nil {
			if strings.EqualFold(m[1], wrong) {
				return isWrong
			}
			return refused
		}
	}
	return unknown
}

// disabled reports whether an entry says itself that it may not log in, for good.
func disabled(e *ldap.Entry) bool {
	control, _ := strconv.Atoi(e.GetEqualFoldAttributeValue("userAccountControl"))
	return control&2 != 0 ||
		strings.EqualFold(e.GetEqualFoldAttributeValue("nsAccountLock"), "true") ||
		strings.HasPrefix(e.GetEqualFoldAttributeValue("pwdAccountLockedTime"), "000001010000")
}

// barred reports whether an entry says anything for which a right password would be
// refused.
func barred(e *ldap.Entry, now time.Time) bool {
	value := e.GetEqualFoldAttributeValue
	at := func(attribute string) (time.Time, bool) {
		t, err := time.Parse("20060102150405Z", value(attribute)) // RFC 4517 section 3.3.13, as directories write it
		return t, err == nil
	}
	if start, ok := at("pwdStartTime"); ok && now.Before(start) {
		return true
	}
	if end, ok := at("pwdEndTime"); ok && !now.Before(end) {
		return true
	}
	lockout := value("lockoutTime")
	return disabled(e) || value("pwdAccountLockedTime") != "" || lockout != "" && lockout != "0" || value("accountUnlockTime") != "" ||
		strings.EqualFold(value("loginDisabled"), "true") || strings.EqualFold(value("lockedByIntruder"), "true")
}

// failureTime has an entry for which a password was wrong, where the policy counts them.
const failureTime = "pwdFailureTime"

// bars reports whether an entry is barred now, and whether it shows that a password was
// wrong.
func (r *reader) bars(ctx context.Context, dn string) (now, seen bool, err error) {
	entries, _, err := r.search(ctx, ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, r.seconds(), false, "(objectClass=*)", append([]string{failureTime}, bars...), nil))
	if len(entries) != 1 {
		return true, true, err
	}
	e := entries[0]
	return barred(e, time.Now()), e.GetEqualFoldAttributeValue(failureTime) != "" || e.GetEqualFoldAttributeValue("pwdAccountLockedTime") != "", err
}

// mustChange reports whether a bind succeeded for nothing but to change the password
// (draft-behera-ldap-password-policy-10 section 6.2, changeAfterReset).
func mustChange(result *ldap.SimpleBindResult) bool {
	const changeAfterReset = 2
	return result != nil && slices.ContainsFunc(result.Controls, func(c ldap.Control) bool {
		p, ok := c.(*ldap.ControlBeheraPasswordPolicy)
		return ok && p.Error == changeAfterReset
	})
}

// hasPolicy reports whether a directory has answered for its policy of passwords.
func hasPolicy(result *ldap.SimpleBindResult) bool {
	return result != nil && slices.ContainsFunc(result.Controls, func(c ldap.Control) bool {
		_, ok := c.(*ldap.ControlBeheraPasswordPolicy)
		return ok
	})
}
