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
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts/password"
)

// checker asks a directory whether passwords are right.
type checker struct {
	pool   *pool
	reads  *reader
	wrong  *memory
	right  *memory
	limits *limits
	logger *zap.Logger
	warned atomic.Int64
	// blind is whether it was said that locks are not seen.
	blind atomic.Bool
	// How long passwords took that were refused, and right ones.
	refusals, rights pace
	// looks is whether the last refusal was followed by a look at the entry.
	looks atomic.Bool
}

// answer is what a directory says of a password.
type answer int

const (
	isRight answer = iota
	isWrong
	refused // as a right one may be, too
	unknown
)

// check binds as an entry. What says that the directory is away, busy or not
// willing is an error: it tells nothing of the password. The stamp says which password
// of the entry is tried; barred that the entry refused right ones when it was read.
func (c *checker) check(ctx context.Context, dn, stamp string, barred bool, password string) (bool, error) {
	// A bind with a DN and no password is one without authentication, which
	// succeeds (RFC 4513 section 5.1.2).
	if dn == "" {
		return false, nil
	}
	return c.try(ctx, dn, stamp, password, func() (answer, error) { return c.bind(ctx, dn, barred, password) })
}

// decoy is check for a name that nobody has: it takes the same path, costs as many
// questions with their answers, and as much time.
func (c *checker) decoy(ctx context.Context, name, password string) (bool, error) {
	stamp := sha256.Sum256([]byte(name))
	return c.try(ctx, name, hex.EncodeToString(stamp[:]), password, func() (answer, error) {
		began := time.Now()
		err := c.pool.with(ctx, func(conn *ldap.Conn) error {
			_, err := conn.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, true, "(objectClass=*)", []string{"1.1"}, nil))
			return err
		})
		if away(err) {
			return unknown, err
		}
		if c.looks.Load() {
			_, _, _ = c.reads.bars(ctx, "")
		}
		c.linger(ctx, began)
		return isWrong, nil
	})
}

// try finds out what a password is, if it is not known and may be asked.
func (c *checker) try(ctx context.Context, whose, stamp, secret string, ask func() (answer, error)) (bool, error) {
	if secret == "" {
		return false, nil
	}
	d := c.wrong.digest(stamp, secret)
	if c.wrong.has(d) {
		return false, nil
	}
	// What waits here is not on its way, and takes nobody's share.
	leave, err := c.pool.enter(ctx)
	if err != nil {
		return false, c.failed(err)
	}
	defer leave()
	giveBack := func(time.Time) {}
	if !c.right.has(d) {
		var ok bool
		if giveBack, ok = c.limits.take(whose, password.ClientOf(ctx), time.Now()); !ok {
			return false, c.failed(errTooMany)
		}
	}
	is, err := ask()
	if is != isRight {
		c.right.forget(d)
	}
	switch is {
	case isRight:
		giveBack(time.Now())
		c.right.add(d)
		return true, nil
	case isWrong:
		c.wrong.add(d)
		return false, nil
	case refused:
		return false, nil
	}
	giveBack(time.Now())
	return false, c.failed(err)
}

// bind has the directory say what a password is.
func (c *checker) bind(ctx context.Context, dn string, barred bool, password string) (is answer, err error) {
	began := time.Now()
	defer func() {
		switch {
		case err != nil:
		case is == isRight:
			c.rights.add(time.Since(began))
		default:
			c.refusals.add(time.Since(began))
		}
	}()
	req := ldap.NewSimpleBindRequest(dn, password, []ldap.Control{ldap.NewControlBeheraPasswordPolicy()})
	var result *ldap.SimpleBindResult
	err = c.pool.with(ctx, func(conn *ldap.Conn) (err error) {
		result, err = conn.SimpleBind(req)
		return err
	})
	switch {
	case err == nil && mustChange(result):
		c.warn(fmt.Errorf("directory: '%s' has to change the password first", dn))
		return refused, nil
	case err == nil:
		return isRight, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
		is = reason(err, result)
		c.looks.Store(is == unknown)
		if is == unknown {
			is = isWrong
			// A failure is no answer: the password may be right.
			now, seen, err := c.reads.bars(ctx, dn)
			if now || err != nil || barred {
				is = refused
			}
			if err == nil && !seen && hasPolicy(result) && c.blind.CompareAndSwap(false, true) {
				c.logger.Warn("an entry that is locked may look like a wrong password: the directory has a policy of passwords, and shows bind_dn neither pwdFailureTime nor pwdAccountLockedTime of an entry whose password it has just refused; let bind_dn read them, or have the directory say it (ppolicy_use_lockout)",
					zap.String("source", c.reads.source))
			}
		}
		return is, nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
		ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultConstraintViolation):
		return refused, nil
	}
	return unknown, err
}

// failed is why nothing is known of a password.
func (c *checker) failed(err error) error {
	err = fmt.Errorf("directory: %w", refusal(err))
	c.warn(err)
	return err
}

// warn logs why passwords are not checked, however many there are, every now and
// then.
func (c *checker) warn(err error) {
	const every = 10 * time.Second
	last, at := c.warned.Load(), now()
	if (last == 0 || at-last >= int64(every)) && c.warned.CompareAndSwap(last, at) {
		c.logger.Warn("password cannot be checked", zap.Error(err))
	}
}

// refusal is an error in words: what the directory says of itself, not what was
// asked.
func refusal(err error) error {
	if ldap.IsErrorWithCode(err, ldap.LDAPResultReferral) {
		return fmt.Errorf("it refers to another server, which is not followed, name that one: %w", err)
	}
	return err
}
