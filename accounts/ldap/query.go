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
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/caddymail/mailgateway/accounts"
)

// The placeholders of filters and DNs.
const (
	nameMark = "{name}"
	dnMark   = "{dn}"
)

// filter is a filter with places for a name and a DN.
type filter struct {
	text string
	says []assertion // those that have the name in them
}

// assertion is one of (attribute=before NAME after). A directory compares without
// regard to blanks, and to what Unicode takes for the same; an account is found by
// its own name only, so the value is looked at again.
type assertion struct{ attribute, before, after string }

// parseFilter checks a filter. The marks may be where a value is compared, and
// nowhere else: not in a part of a value that is searched for, and not where a
// match is denied.
func parseFilter(text string, marks ...string) (*filter, error) {
	packet, err := ldap.CompileFilter(text)
	if err != nil {
		return nil, errors.New("it is no filter of LDAP (RFC 4515)")
	}
	f := &filter{text: text}
	found, err := f.walk(packet, marks, false)
	if err != nil {
		return nil, err
	}
	for _, m := range marks {
		if n := strings.Count(text, m); n != found[m] {
			return nil, fmt.Errorf("%s may only be compared, as in (mail=%s)", m, m)
		}
	}
	return f, nil
}

func (f *filter) walk(p *ber.Packet, marks []string, denied bool) (map[string]int, error) {
	found := make(map[string]int)
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		for _, child := range p.Children {
			more, err := f.walk(child, marks, denied || p.Tag == ldap.FilterNot)
			if err != nil {
				return nil, err
			}
			for m, n := range more {
				found[m] += n
			}
		}
	case ldap.FilterEqualityMatch:
		if len(p.Children) != 2 {
			return nil, errors.New("it is no filter of LDAP (RFC 4515)")
		}
		attribute, value := ber.DecodeString(p.Children[0].Data.Bytes()), ber.DecodeString(p.Children[1].Data.Bytes())
		for _, m := range marks {
			n := strings.Count(value, m)
			if n > 0 && (denied || n > 1) {
				return nil, fmt.Errorf("%s may neither be denied nor stand twice in one value", m)
			}
			found[m] += n
		}
		if before, after, ok := strings.Cut(value, nameMark); ok {
			f.says = append(f.says, assertion{attribute, before, after})
		}
	}
	return found, nil
}

// with is the filter of one name and DN.
func (f *filter) with(name, dn string) string {
	return strings.NewReplacer(nameMark, ldap.EscapeFilter(name), dnMark, ldap.EscapeFilter(dn)).Replace(f.text)
}

// means reports whether an entry has exactly the name that the filter found it
// by, but for the case of ASCII letters, and whether it shows any of what the filter
// looks at.
func (f *filter) means(e *ldap.Entry, n *names, name string) (yes, shows bool) {
	for _, s := range f.says {
		want := accounts.FoldName(s.before + name + s.after)
		for _, v := range n.all(e, s.attribute) {
			shows = true
			if accounts.FoldName(v) == want {
				return true, true
			}
		}
	}
	return false, shows
}

// attributes are those that means looks at.
func (f *filter) attributes() (all []string) {
	for _, s := range f.says {
		all = append(all, s.attribute)
	}
	return all
}

// checkDN checks a DN with a place for a name.
func checkDN(text string) error {
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return errors.New("it is no DN (RFC 4514)")
	}
	n := 0
	for _, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			if strings.Contains(a.Type, nameMark) {
				return fmt.Errorf("%s may only be a value, as in uid=%s", nameMark, nameMark)
			}
			n += strings.Count(a.Value, nameMark)
		}
	}
	if n != 1 {
		return fmt.Errorf("it needs %s once", nameMark)
	}
	return nil
}

// dnWith is the DN of one name.
func dnWith(template, name string) string {
	return strings.ReplaceAll(template, nameMark, ldap.EscapeDN(name))
}

// sameDN reports whether two DNs have the same values, but for the case of ASCII
// letters.
func sameDN(a, b string) bool {
	x, err := ldap.ParseDN(a)
	if err != nil {
		return false
	}
	y, err := ldap.ParseDN(b)
	if err != nil || len(x.RDNs) != len(y.RDNs) {
		return false
	}
	for i := range x.RDNs {
		if len(x.RDNs[i].Attributes) != len(y.RDNs[i].Attributes) {
			return false
		}
		for j, v := range x.RDNs[i].Attributes {
			if accounts.FoldName(v.Value) != accounts.FoldName(y.RDNs[i].Attributes[j].Value) {
				return false
			}
		}
	}
	return true
}
