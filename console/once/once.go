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

// Package once has what a form asks for done once: the second click of a double click,
// and a page that is sent again, get the first's answer. A browser leaves the first
// click's request for the second, so that only what the second hears is seen.
package once

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Forms are those that were sent lately, by what tells them apart.
type Forms struct {
	mu   sync.Mutex
	done map[string]*Answer
}

// Answer is what a form came to.
type Answer struct {
	// Ready is closed when that is known.
	Ready chan struct{}

	at    time.Time
	where string // the page that it led to; empty if it failed
	// cookies carry the secret to that page, until it has been shown.
	cookies []string
}

const (
	most    = 10_000
	keptFor = time.Hour
)

// sites are the forms of each address: they outlive a reload, which may come between
// two clicks.
var sites sync.Map

// Of returns the forms of the pages at an address.
func Of(url string) *Forms {
	f, _ := sites.LoadOrStore(url, New())
	return f.(*Forms)
}

// New returns forms of which none was sent.
func New() *Forms { return &Forms{done: make(map[string]*Answer)} }

// Begin reports whether the form is the first with its key. If it is not, the answer is
// that of the first.
func (f *Forms) Begin(key string) (a *Answer, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.done[key]; a != nil {
		return a, false
	}
	now := time.Now()
	if len(f.done) >= most {
		for k, old := range f.done {
			if now.Sub(old.at) > keptFor {
				delete(f.done, k)
			}
		}
	}
	a = &Answer{at: now, Ready: make(chan struct{})}
	if len(f.done) < most {
		f.done[key] = a
	}
	return a, true
}

// End keeps the answer. What failed may be sent again.
func (f *Forms) End(key string, a *Answer, where string, cookies []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.where, a.cookies = where, cookies; where == "" && f.done[key] == a {
		delete(f.done, key)
	}
	close(a.Ready)
}

// Answer is where the form led to, and with which cookies.
func (f *Forms) Answer(a *Answer) (where string, cookies []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return a.where, a.cookies
}

// Shown forgets the cookie of a secret that has been shown.
func (f *Forms) Shown(cookie string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.done {
		if slices.ContainsFunc(a.cookies, func(c string) bool { return strings.HasPrefix(c, cookie+"=") }) {
			a.cookies = nil
		}
	}
}
