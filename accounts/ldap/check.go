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
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"
)

// checker asks a directory whether passwords are right.
type checker struct {
	pool   *pool
	wrong  *wrong
	logger *zap.Logger
	warned atomic.Int64
}

// check binds as an entry. What says that the directory is away, busy or not
// willing is an error: it tells nothing of the password. The stamp says which password
// of the entry is tried.
func (c *checker) check(ctx context.Context, dn, stamp, password string) (bool, error) {
	// A bind with a DN and no password is one without authentication, which
	// succeeds (RFC 4513 section 5.1.2).
	if password == "" || dn == "" {
		return false, nil
	}
	digest := c.wrong.digest(stamp, password)
	if c.wrong.has(digest) {
		return false, nil
	}
	err := c.pool.do(ctx, func(conn *ldap.Conn) error { return conn.Bind(dn, password) })
	if err == nil {
		return true, nil
	}
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		c.wrong.add(digest)
	}
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
		ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultConstraintViolation) {
		return false, nil
	}
	err = fmt.Errorf("directory: %w", refusal(err))
	c.warn(err)
	return false, err
}

// decoy costs a question and its answer.
func (c *checker) decoy(ctx context.Context, password string) (bool, error) {
	if password == "" {
		return false, nil
	}
	err := c.pool.do(ctx, func(conn *ldap.Conn) error {
		_, err := conn.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, true, "(objectClass=*)", []string{"1.1"}, nil))
		return err
	})
	if err != nil && away(err) {
		return false, err
	}
	return false, nil
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
