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
	asked      []string          // attributes that the configuration names
	wanted     []string          // and all others that are read
	names      *names
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
	_, _, err := r.search(ctx, ldap.NewSearchRequest(base, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, r.seconds(), false, "(objectClass=*)", []string{"1.1"}, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return fmt.Errorf("field 'base': the directory has no '%s', or does not show it to bind_dn", base)
	}
	return err
}

func (r *reader) seconds() int { return int((r.timeout + time.Second - 1) / time.Second) }

// search has a request answered, and reports whether there are more entries than it
// returns, whoever set the limit. Entries that came before another error are none.
func (r *reader) search(ctx context.Context, req *ldap.SearchRequest) (entries []*ldap.Entry, more bool, err error) {
	var result *ldap.SearchResult
	err = r.pool.do(ctx, func(c *ldap.Conn) (err error) {
		result, err = c.Search(req)
		return err
	})
	if more = ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded); err != nil && !more {
		return nil, false, refusal(err)
	}
	if result != nil {
		entries = result.Entries
	}
	return entries, more, nil
}

// entryError says what is wrong with one entry. Other errors are the directory's.
type entryError struct{ error }

func (e entryError) Unwrap() error { return e.error }

func problem(field, text string) error {
	return entryError{&accounts.FieldError{Field: field, Err: errors.New(text)}}
}

// read looks for one name.
func (r *reader) read(ctx context.Context, name string) (ondemand.Found, bool, error) {
	if !utf8.ValidString(name) {
		return ondemand.Found{}, false, nil // no text of LDAP's (RFC 4511 section 4.1.2)
	}
	a, err := r.look(ctx, name)
	if wrong, ok := errors.AsType[entryError](err); ok {
		return r.bad(name, wrong.error), true, nil
	}
	return ondemand.Found{Account: a}, a != nil, err
}

// look returns the account of a name, or nil if there is none.
func (r *reader) look(ctx context.Context, name string) (*accounts.Account, error) {
	find := r.searched
	if r.userDN != "" {
		find = r.named
	}
	e, err := find(ctx, name)
	if e == nil && err == nil && r.group != nil {
		// A name that nobody has costs as many questions as others.
		_, _ = r.inGroup(ctx, &ldap.Entry{DN: "cn=nobody," + r.groupBase}, name)
	}
	if err != nil || e == nil {
		return nil, err
	}
	if in, err := r.inGroup(ctx, e, name); err != nil || !in {
		return nil, err
	}
	if r.names.foreign(e, r.wanted) {
		if err := r.learn(ctx, e); err != nil {
			return nil, err
		}
	}
	a, err := r.account(e, name)
	if err != nil {
		return nil, entryError{err}
	}
	return a, nil
}

// named reads the entry whose DN a name gives.
func (r *reader) named(ctx context.Context, name string) (*ldap.Entry, error) {
	dn := dnWith(r.userDN, name)
	entries, _, err := r.search(ctx, ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 2, r.seconds(), false, r.filter.with(name, ""), r.wanted, nil))
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax):
		return nil, nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultReferral, ldap.LDAPResultAliasProblem):
		// Of this DN only: the others are read.
		return nil, problem("name", err.Error())
	case err != nil || len(entries) != 1 || !sameDN(entries[0].DN, dn):
		return nil, err
	}
	return entries[0], nil
}

// searched looks for the one entry that a filter finds.
func (r *reader) searched(ctx context.Context, name string) (*ldap.Entry, error) {
	entries, more, err := r.search(ctx, ldap.NewSearchRequest(r.base, r.scope, ldap.NeverDerefAliases, 2, r.seconds(), false, r.filter.with(name, ""), r.wanted, nil))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil, fmt.Errorf("field 'base': the directory has no '%s', or does not show it to bind_dn", r.base)
	case err != nil:
		return nil, err
	case more || len(entries) > 1:
		return nil, problem("name", "two entries have this name")
	case len(entries) == 0:
		return nil, nil
	}
	e := entries[0]
	yes, shows := r.filter.means(e, r.names, name)
	if !yes {
		// The filter may name the attribute otherwise than the directory does.
		if err := r.learn(ctx, e, r.filter.attributes()...); err != nil {
			return nil, err
		}
		yes, shows = r.filter.means(e, r.names, name)
	}
	switch {
	case !shows:
		return nil, problem("name", fmt.Sprintf("the directory has an entry of this name, and does not show bind_dn the attribute that the filter compares (%s)", strings.Join(r.filter.attributes(), ", ")))
	case !yes:
		return nil, nil
	}
	return e, nil
}

// inGroup reports whether an entry is in the group, if one is asked for.
func (r *reader) inGroup(ctx context.Context, e *ldap.Entry, name string) (bool, error) {
	if r.group == nil {
		return true, nil
	}
	groups, more, err := r.search(ctx, ldap.NewSearchRequest(r.groupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, r.seconds(), true, r.group.with(name, e.DN), []string{"1.1"}, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		err = fmt.Errorf("field 'group_base': the directory has no '%s', or does not show it to bind_dn", r.groupBase)
	}
	return more || len(groups) > 0, err
}

// learn finds out by which names an entry shows attributes of the configuration that it
// does not show by their own.
func (r *reader) learn(ctx context.Context, e *ldap.Entry, attributes ...string) error {
	if len(attributes) == 0 {
		attributes = r.asked
		defer func() { r.names.settle(e, r.wanted) }()
	}
	for _, a := range attributes {
		if slices.ContainsFunc(e.Attributes, func(shown *ldap.EntryAttribute) bool { return isOne(shown.Name, a) }) {
			continue
		}
		entries, _, err := r.search(ctx, ldap.NewSearchRequest(e.DN, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, r.seconds(), true, "(objectClass=*)", []string{a}, nil))
		if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			return err
		}
		if len(entries) == 1 {
			r.names.learn(a, entries[0])
		}
	}
	return nil
}

// account makes an account of an entry.
func (r *reader) account(e *ldap.Entry, name string) (*accounts.Account, error) {
	values := map[string]any{"name": name}
	for field, attribute := range r.attributes {
		switch v := r.names.own(e, attribute); len(v) {
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
	rec.Paused = rec.Paused || disabled(e)
	a, err := accounts.Compile(rec, r.source)
	if err != nil {
		return nil, err
	}
	stamp, ok := r.stamp(e)
	if !ok {
		return nil, errors.New("no attribute tells when its password changed: let bind_dn read one, or name one with 'changed'")
	}
	o := r.outside
	dn, barred := e.DN, barred(e, time.Now())
	o.Check = func(ctx context.Context, _, password string) (bool, error) {
		return r.checker.check(ctx, dn, stamp, barred, password)
	}
	return a.Outside("ldap:"+stamp, &o).Stored(fmt.Sprint(stamp, barred)), nil
}

// stamp tells one password of an entry from the next.
func (r *reader) stamp(e *ldap.Entry) (string, bool) {
	h := sha256.New()
	add := func(s string) { _, _ = io.WriteString(h, strconv.Itoa(len(s))+":"+s) }
	add(r.source)
	add(e.DN)
	take := func(names []string) (any bool) {
		for _, n := range names {
			for _, v := range r.names.own(e, n) {
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
