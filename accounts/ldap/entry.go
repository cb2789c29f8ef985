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
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/accounts/mapped"
	"github.com/caddymail/mailgateway/accounts/ondemand"
	"github.com/caddymail/mailgateway/accounts/password"
)

// batch is the number of entries that are read again in one go.
const batch = 100

// What says that the password of an entry is another one: attributes of the
// password first (ppolicy, Active Directory, FreeIPA), and where there are none
// those of any change.
var (
	passwordChanged = []string{"pwdChangedTime", "pwdLastSet", "krbLastPwdChange", "sambaPwdLastSet"}
	anyChange       = []string{"entryCSN", "modifyTimestamp", "whenChanged"}
	identifies      = []string{"entryUUID", "objectGUID", "nsUniqueId"}
	// Attributes that say that an entry may not log in.
	locks = []string{"pwdAccountLockedTime", "userAccountControl", "nsAccountLock"}
)

// reader reads entries.
type reader struct {
	source     string
	upstream   string
	base       string
	scope      int
	filter     *filter
	userDN     string // or "": the filter finds it
	groupBase  string
	group      *filter           // nil: none
	attributes map[string]string // by field
	changed    []string          // "": the defaults
	wanted     []string
	timeout    time.Duration
	pool       *pool
	checker    *checker
	outside    password.Outside // Check is left to fill in
}

// Read implements ondemand.Reader.
func (r *reader) Read(ctx context.Context, names []string) (map[string]ondemand.Found, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if len(names) == 0 {
		return nil, r.probe(ctx)
	}
	var (
		mu    sync.Mutex
		all   = make(map[string]ondemand.Found, len(names))
		first error
		wg    sync.WaitGroup
		queue = make(chan string)
	)
	for range min(len(names), cap(r.pool.slots)) {
		wg.Go(func() {
			for name := range queue {
				found, ok, err := r.read(ctx, name)
				mu.Lock()
				switch {
				case err != nil && first == nil:
					first = err
					cancel()
				case err == nil && ok:
					all[name] = found
				}
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		queue <- name
	}
	close(queue)
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	return all, first
}

// probe shows that the directory can be read.
func (r *reader) probe(ctx context.Context) error {
	base := r.base
	if r.userDN != "" {
		base = ""
	}
	_, err := r.search(ctx, ldap.NewSearchRequest(base, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, r.seconds(), false, "(objectClass=*)", []string{"1.1"}, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return fmt.Errorf("field 'base': the directory has no '%s', or does not show it to bind_dn", base)
	}
	return err
}

func (r *reader) seconds() int { return int((r.timeout + time.Second - 1) / time.Second) }

// search has a request answered. Entries that came before an error are none.
func (r *reader) search(ctx context.Context, req *ldap.SearchRequest) ([]*ldap.Entry, error) {
	var result *ldap.SearchResult
	err := r.pool.do(ctx, func(c *ldap.Conn) (err error) {
		result, err = c.Search(req)
		return err
	})
	// Two are enough to know that there is more than one.
	if err != nil && (!ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || result == nil || len(result.Entries) == 0) {
		return nil, refusal(err)
	}
	return result.Entries, nil
}

// read looks for one name.
func (r *reader) read(ctx context.Context, name string) (ondemand.Found, bool, error) {
	if !utf8.ValidString(name) {
		return ondemand.Found{}, false, nil // no text of LDAP's (RFC 4511 section 4.1.2)
	}
	base, scope := r.base, r.scope
	if r.userDN != "" {
		base, scope = dnWith(r.userDN, name), ldap.ScopeBaseObject
	}
	entries, err := r.search(ctx, ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 2, r.seconds(), false, r.filter.with(name, ""), r.wanted, nil))
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) && r.userDN != "":
		return ondemand.Found{}, false, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return ondemand.Found{}, false, fmt.Errorf("field 'base': the directory has no '%s', or does not show it to bind_dn", r.base)
	case err != nil:
		return ondemand.Found{}, false, err
	}
	if r.userDN != "" {
		entries = slices.DeleteFunc(entries, func(e *ldap.Entry) bool { return !sameDN(e.DN, base) })
	} else if len(entries) < 2 {
		entries = slices.DeleteFunc(entries, func(e *ldap.Entry) bool { return !r.filter.means(e, name) })
	}
	if len(entries) == 0 {
		return ondemand.Found{}, false, nil
	}
	if len(entries) > 1 {
		return r.bad(name, &accounts.FieldError{Field: "name", Err: errors.New("two entries have this name")}), true, nil
	}
	e := entries[0]
	if r.group != nil {
		groups, err := r.search(ctx, ldap.NewSearchRequest(r.groupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, r.seconds(), true, r.group.with(name, e.DN), []string{"1.1"}, nil))
		switch {
		case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
			return ondemand.Found{}, false, fmt.Errorf("field 'group_base': the directory has no '%s', or does not show it to bind_dn", r.groupBase)
		case err != nil:
			return ondemand.Found{}, false, err
		case len(groups) == 0:
			return ondemand.Found{}, false, nil
		}
	}
	a, err := r.account(e, name)
	if err != nil {
		return r.bad(name, err), true, nil
	}
	return ondemand.Found{Account: a}, true, nil
}

// account makes an account of an entry.
func (r *reader) account(e *ldap.Entry, name string) (*accounts.Account, error) {
	values := map[string]any{"name": name}
	for field, attribute := range r.attributes {
		switch v := e.GetEqualFoldAttributeValues(attribute); len(v) {
		case 0:
			values[field] = nil
		case 1:
			values[field] = v[0]
		default:
			several := make([]any, len(v))
			for i := range v {
				several[i] = v[i]
			}
			values[field] = several
		}
	}
	rec, err := mapped.Record(values, r.upstream)
	if err != nil {
		return nil, err
	}
	rec.Paused = rec.Paused || locked(e)
	a, err := accounts.Compile(rec, r.source)
	if err != nil {
		return nil, err
	}
	stamp, ok := r.stamp(e)
	if !ok {
		return nil, errors.New("no attribute tells when its password changed: let bind_dn read one, or name one with 'changed'")
	}
	o := r.outside
	dn := e.DN
	o.Check = func(ctx context.Context, password string) (bool, error) {
		return r.checker.check(ctx, dn, stamp, password)
	}
	return a.Outside("ldap:"+stamp, &o).Stored(stamp), nil
}

// stamp tells one password of an entry from the next.
func (r *reader) stamp(e *ldap.Entry) (string, bool) {
	h := sha256.New()
	add := func(s string) { _, _ = io.WriteString(h, strconv.Itoa(len(s))+":"+s) }
	add(r.source)
	add(e.DN)
	take := func(names []string) (any bool) {
		for _, n := range names {
			for _, v := range e.GetEqualFoldAttributeValues(n) {
				add(n)
				add(v)
				any = true
			}
		}
		return any
	}
	take(identifies)
	known := len(r.changed) > 0 && take(r.changed) || len(r.changed) == 0 && (take(passwordChanged) || take(anyChange))
	return hex.EncodeToString(h.Sum(nil)[:16]), known
}

// locked reports whether an entry says itself that it may not log in.
func locked(e *ldap.Entry) bool {
	control, _ := strconv.Atoi(e.GetEqualFoldAttributeValue("userAccountControl"))
	return control&2 != 0 ||
		strings.EqualFold(e.GetEqualFoldAttributeValue("nsAccountLock"), "true") ||
		strings.HasPrefix(e.GetEqualFoldAttributeValue("pwdAccountLockedTime"), "000001010000")
}

// bad is an entry that cannot be used.
func (r *reader) bad(name string, err error) ondemand.Found {
	p := accounts.Problem{Source: r.source, Account: name, Message: err.Error()}
	if fe, ok := errors.AsType[*accounts.FieldError](err); ok {
		p.Field, p.Message = fe.Field, fe.Err.Error()
		field, _, _ := strings.Cut(fe.Field, "[")
		if a := r.attributes[strings.TrimPrefix(field, "limits.")]; a != "" {
			p.Message = fmt.Sprintf("attribute '%s': %s", a, p.Message)
		}
	}
	return ondemand.Found{Problem: p}
}

// Interface guards
var _ ondemand.Reader = (*reader)(nil)
