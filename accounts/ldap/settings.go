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
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts/mapped"
	"github.com/caddymail/mailgateway/accounts/ondemand"
	"github.com/caddymail/mailgateway/accounts/password"
	"github.com/caddymail/mailgateway/internal/breaker"
	"github.com/caddymail/mailgateway/internal/form"
	"github.com/caddymail/mailgateway/internal/nearest"
)

// The defaults of Source.
const (
	defaultMaxConns  = 8
	defaultCacheSize = 10_000
	defaultTimeout   = 5 * time.Second
	defaultRemember  = 5 * time.Minute
)

// An attribute's name or number (RFC 4512 section 2.5), with options.
var attributeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.;-]*$`)

// complete resolves placeholders, checks what concerns one field, and fills in
// the defaults.
func (s *Source) complete() error {
	repl := caddy.NewReplacer()
	s.Servers = slices.Clone(s.Servers)
	for i := range s.Servers {
		var err error
		if s.Servers[i], err = repl.ReplaceOrErr(s.Servers[i], true, true); err != nil {
			return fmt.Errorf("field 'servers': %w", form.Unresolved(err))
		}
	}
	for _, f := range []struct {
		name string
		text *string
	}{{"bind_dn", &s.BindDN}, {"bind_password", &s.BindPassword}} {
		text, err := repl.ReplaceOrErr(*f.text, true, true)
		if err != nil {
			return fmt.Errorf("field '%s': %w", f.name, form.Unresolved(err))
		}
		*f.text = text
	}
	s.BindPassword = strings.TrimRight(s.BindPassword, "\r\n")
	for _, f := range []struct{ name, text string }{
		{"bind_dn", s.BindDN},
		{"base", s.Base},
		{"group_base", s.GroupBase},
		{"user_dn", s.UserDN},
		{"upstream", s.Upstream},
		{"filter", s.Filter},
		{"group_filter", s.GroupFilter},
	} {
		if err := form.Text.Check(f.text); err != nil {
			return fmt.Errorf("field '%s': %w", f.name, err)
		}
	}
	switch {
	case len(s.Servers) == 0:
		return errors.New("field 'servers': must not be empty")
	case s.BindDN == "" && s.BindPassword != "":
		return errors.New("field 'bind_dn': there is a password and no user")
	case s.BindDN != "" && s.BindPassword == "":
		return errors.New("field 'bind_password': must not be empty: a directory takes that for anonymous")
	case s.Scope != "" && s.Scope != "sub" && s.Scope != "one":
		return fmt.Errorf("field 'scope': %w", form.OneOf("sub", "one").Check(s.Scope))
	case s.MaxConns < 0:
		return errors.New("field 'max_conns': must not be negative")
	}
	for _, f := range []struct{ name, dn string }{{"bind_dn", s.BindDN}, {"base", s.Base}, {"group_base", s.GroupBase}} {
		// Active Directory takes user@domain and DOMAIN\user too.
		if _, err := ldap.ParseDN(f.dn); err != nil && (f.name != "bind_dn" || !strings.ContainsAny(f.dn, `@\`)) {
			return fmt.Errorf("field '%s': '%s' is no DN (RFC 4514)", f.name, f.dn)
		}
	}
	if s.MaxConns == 0 {
		s.MaxConns = defaultMaxConns
	}
	return s.bounds().Complete(defaultCacheSize)
}

// bounds are what the configuration says of what is held.
func (s *Source) bounds() ondemand.Bounds {
	return ondemand.Bounds{
		CacheSize: &s.CacheSize, Fresh: &s.Fresh, Stale: &s.Stale, Negative: &s.Negative,
		More: []ondemand.Setting{{Name: "timeout", Value: &s.Timeout, Default: defaultTimeout}, {Name: "remember", Value: &s.Remember, Default: defaultRemember}},
	}
}

var lastName atomic.Uint64

// reader returns what reads the directory. The configuration is complete.
func (s *Source) reader(logger *zap.Logger) (*reader, error) {
	r := &reader{
		source: s.Name(), upstream: s.Upstream, base: s.Base, scope: ldap.ScopeWholeSubtree, userDN: s.UserDN, groupBase: s.GroupBase,
		attributes: maps.Clone(s.Attributes), changed: s.Changed, names: newNames(), timeout: time.Duration(s.Timeout),
	}
	if s.Scope == "one" {
		r.scope = ldap.ScopeSingleLevel
	}
	if r.groupBase == "" {
		r.groupBase = s.Base
	}
	if err := s.queries(r); err != nil {
		return nil, err
	}
	if err := s.mapping(r); err != nil {
		return nil, err
	}
	var servers []*server
	for _, text := range s.Servers {
		sv, err := parseServer(text, s.StartTLS, s.InsecurePlaintext)
		if err != nil {
			return nil, fmt.Errorf("field 'servers': %w", err)
		}
		if sv.tls != nil {
			sv.tls.RootCAs = s.roots
		}
		sv.timeout, sv.logger = time.Duration(s.Timeout), logger
		sv.breaker = breaker.New(breaker.Settings{After: 1, Min: time.Second, Max: 30 * time.Second})
		servers = append(servers, sv)
	}
	var l *login
	if s.BindDN != "" {
		l = newLogin(s.BindDN, s.BindPassword)
	}
	r.pool = newPool(servers, s.MaxConns, r.timeout, l)
	r.checker = &checker{
		pool:  newPool(servers, s.MaxConns, r.timeout, nil),
		reads: r, logger: logger, wrong: newMemory(wrongFor), right: newMemory(rightFor), limits: newLimits(s.MaxConns),
	}
	r.outside = password.Outside{
		Name:     "ldap" + strconv.FormatUint(lastName.Add(1), 10),
		Remember: time.Duration(s.Remember), Decoy: r.checker.decoy,
	}
	return r, nil
}

// queries checks how entries and groups are found.
func (s *Source) queries(r *reader) (err error) {
	text := s.Filter
	if s.UserDN == "" {
		if text == "" {
			text = "(mail={name})"
		}
		if s.Base == "" {
			return errors.New("field 'base': must not be empty: name one, or user_dn")
		}
	} else {
		if text == "" {
			text = "(objectClass=*)"
		}
		switch err := checkDN(s.UserDN); {
		case err != nil:
			return fmt.Errorf("field 'user_dn': '%s': %w", s.UserDN, err)
		case s.Scope != "":
			return errors.New("field 'scope': user_dn names the entry, nothing is searched for")
		}
	}
	if r.filter, err = parseFilter(text, nameMark); err != nil {
		return fmt.Errorf("field 'filter': '%s': %w", text, err)
	}
	if s.UserDN == "" && len(r.filter.says) == 0 {
		return fmt.Errorf("field 'filter': '%s': it needs %s, as in (mail=%s)", text, nameMark, nameMark)
	}
	if s.GroupFilter == "" {
		if s.GroupBase != "" {
			return errors.New("field 'group_filter': must not be empty where there is a group_base")
		}
		return nil
	}
	if r.groupBase == "" {
		return errors.New("field 'group_base': must not be empty where there is no base")
	}
	if r.group, err = parseFilter(s.GroupFilter, nameMark, dnMark); err != nil {
		return fmt.Errorf("field 'group_filter': '%s': %w", s.GroupFilter, err)
	}
	if !strings.Contains(s.GroupFilter, nameMark) && !strings.Contains(s.GroupFilter, dnMark) {
		return fmt.Errorf("field 'group_filter': '%s': it needs %s or %s, as in (member=%s)", s.GroupFilter, dnMark, nameMark, dnMark)
	}
	return nil
}

// mapping checks which attributes are read.
func (s *Source) mapping(r *reader) error {
	// The name is what was asked for; a directory tells no hash; labels are JSON.
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(mapped.Fields)), func(f string) bool {
		return f == "name" || f == "password_hashes" || f == "labels"
	})
	for _, field := range slices.Sorted(maps.Keys(s.Attributes)) {
		attribute := s.Attributes[field]
		if !slices.Contains(known, field) {
			return fmt.Errorf("field 'attributes': no attribute can be the '%s' of an account%s", field, nearest.Hint(field, known))
		}
		if !attributeName.MatchString(attribute) {
			return fmt.Errorf("field 'attributes.%s': '%s' is no attribute's name", field, attribute)
		}
		r.wanted = append(r.wanted, attribute)
	}
	for _, attribute := range s.Changed {
		if !attributeName.MatchString(attribute) {
			return fmt.Errorf("field 'changed': '%s' is no attribute's name", attribute)
		}
	}
	if s.Upstream == "" && s.Attributes["upstream"] == "" {
		return errors.New("field 'upstream': accounts have none: name one, or an attribute for it")
	}
	if s.Attributes["paused"] != "" && s.Attributes["active"] != "" {
		return errors.New("field 'attributes.active': there is an attribute for paused already")
	}
	r.asked = slices.Concat(r.wanted, r.filter.attributes(), s.Changed)
	stamps := s.Changed
	if len(stamps) == 0 {
		stamps = append(slices.Clone(passwordChanged), anyChange...)
	}
	r.wanted = slices.Concat(r.wanted, r.filter.attributes(), stamps, identifies, bars)
	slices.Sort(r.wanted)
	r.wanted = slices.Compact(r.wanted)
	return nil
}
