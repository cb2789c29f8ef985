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
	"slices"
	"strings"
	"sync"

	"github.com/go-ldap/ldap/v3"
)

// names knows by which names a directory shows the attributes that it is asked for:
// userid is uid, an OID is a name, sn is one kind of name (RFC 4512 sections 2.5 and 4.1.2).
type names struct {
	mu      sync.Mutex
	shown   map[string][]string // by the one that is asked for; all are in lower case
	strange map[string]bool     // nothing that is asked for explains them
}

func newNames() *names {
	return &names{shown: make(map[string][]string), strange: make(map[string]bool)}
}

// isOne reports whether what is shown is the attribute that was asked for, perhaps with
// more options: mail;lang-en is mail, too.
func isOne(shown, asked string) bool {
	s, a := strings.Split(strings.ToLower(shown), ";"), strings.Split(strings.ToLower(asked), ";")
	if s[0] != a[0] {
		return false
	}
	for _, option := range a[1:] {
		if !slices.Contains(s[1:], option) {
			return false
		}
	}
	return true
}

// known reports whether what is shown is what was asked for by another name.
func (n *names) known(shown, asked string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.shown[strings.ToLower(asked)], func(k string) bool { return isOne(shown, k) })
}

// all are the values that a filter of an attribute looks at.
func (n *names) all(e *ldap.Entry, asked string) (values []string) {
	for _, a := range e.Attributes {
		if isOne(a.Name, asked) || n.known(a.Name, asked) {
			values = append(values, a.Values...)
		}
	}
	return values
}

// own are the values of an attribute, without those of its kinds if it has any itself.
func (n *names) own(e *ldap.Entry, asked string) []string {
	if values := e.GetEqualFoldAttributeValues(asked); len(values) > 0 {
		return values
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.shown[strings.ToLower(asked)] {
		if values := e.GetEqualFoldAttributeValues(k); len(values) > 0 {
			return values
		}
	}
	return nil
}

// foreign reports whether an entry shows something by a name that nobody asked for.
func (n *names) foreign(e *ldap.Entry, asked []string) bool {
	return slices.ContainsFunc(e.Attributes, func(a *ldap.EntryAttribute) bool { return !n.explained(a.Name, asked) })
}

func (n *names) explained(shown string, asked []string) bool {
	n.mu.Lock()
	strange := n.strange[strings.ToLower(shown)]
	n.mu.Unlock()
	return strange || slices.ContainsFunc(asked, func(a string) bool { return isOne(shown, a) || n.known(shown, a) })
}

// learn takes in what an entry shows when it is asked for one attribute.
func (n *names) learn(asked string, e *ldap.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked = strings.ToLower(asked)
	for _, a := range e.Attributes {
		if shown := strings.ToLower(a.Name); !slices.Contains(n.shown[asked], shown) {
			n.shown[asked] = append(n.shown[asked], shown)
		}
	}
}

// settle has what is still not explained be asked about no more.
func (n *names) settle(e *ldap.Entry, asked []string) {
	for _, a := range e.Attributes {
		if !n.explained(a.Name, asked) {
			n.mu.Lock()
			n.strange[strings.ToLower(a.Name)] = true
			n.mu.Unlock()
		}
	}
}
