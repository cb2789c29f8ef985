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

// Package settings is the form of an account's settings: what an office types, as a merge
// patch of the account's record. The page that has it is the console's.
package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/printable"
)

// Form are an account's settings as they are, or as the form was filled in.
type Form struct {
	Name string
	// Version is what the settings were when the page was made.
	Version                    string
	Upstream, Mailbox, Senders string
	MaxConns                   string
	Rates                      []Rate
	Upstreams                  []string
	// Problem is what is wrong with Field; without a field, with all.
	Field, Problem string
}

// Rate is a limit as an office says it: so many in a minute, an hour or a day.
type Rate struct {
	Name, Label string
	Count, Per  string
	Periods     []Period
}

// Period is how long a limit counts.
type Period struct{ Value, Label string }

var periods = []Period{{"1m", "a minute"}, {"1h", "an hour"}, {"24h", "a day"}}

// newRate shows a rate; the period of one that a file or a program has set may be any.
func newRate(name, label string, r accounts.Rate) Rate {
	f := Rate{Name: name, Label: label, Per: "24h", Periods: periods}
	if name == "rate" {
		f.Per = "1m"
	}
	if !r.IsZero() {
		f.Count, f.Per, _ = strings.Cut(r.String(), "/")
		f.setPer(f.Per)
	}
	return f
}

// setPer chooses a period, which is added to the list if it is another.
func (f *Rate) setPer(per string) {
	f.Per = per
	if !slices.ContainsFunc(f.Periods, func(p Period) bool { return p.Value == per }) {
		f.Periods = append(slices.Clone(f.Periods), Period{per, "in " + per})
	}
}

// Of is the form of an account as it is, with the upstreams that there are.
func Of(a *accounts.Account, upstreams []string) *Form {
	var l accounts.Limits
	if a.Limits != nil {
		l = *a.Limits
	}
	f := &Form{
		Name: a.Name, Version: a.Version(), Upstream: a.Upstream, Senders: strings.Join(a.Senders, "\n"), Upstreams: upstreams,
		Rates: []Rate{
			newRate("rate", "Messages in a short time", l.Rate),
			newRate("messages", "Messages in a long time", l.Messages),
			newRate("recipients", "Recipients in a long time", l.Recipients),
		},
	}
	if a.Mailbox != a.Name {
		f.Mailbox = a.Mailbox
	}
	if l.MaxConns > 0 {
		f.MaxConns = strconv.Itoa(l.MaxConns)
	}
	if !slices.Contains(upstreams, a.Upstream) {
		f.Upstreams = append([]string{a.Upstream}, upstreams...)
	}
	return f
}

// Read takes what was filled in, and returns it as a merge patch. What is empty is
// removed; what cannot be is said in Field and Problem.
func (f *Form) Read(get func(string) string) map[string]any {
	field := func(name string) string { return strings.TrimSpace(get(name)) }
	orNone := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	f.Version, f.Upstream, f.Mailbox, f.MaxConns = field("version"), field("upstream"), field("mailbox"), field("max_conns")
	f.Senders = strings.ReplaceAll(field("senders"), "\r\n", "\n")
	patch := map[string]any{"upstream": f.Upstream, "mailbox": orNone(f.Mailbox), "senders": nil}
	if senders := strings.FieldsFunc(f.Senders, func(r rune) bool { return r == '\n' || r == ',' || r == ';' || r == ' ' || r == '\t' }); len(senders) > 0 {
		patch["senders"] = senders
	}
	limits, set := map[string]any{"max_conns": nil}, false
	if f.MaxConns != "" {
		n, err := strconv.Atoi(f.MaxConns)
		if err != nil || n < 1 {
			f.Wrong("max_conns", "must be a whole number from 1 on, or empty")
		}
		limits["max_conns"], set = n, true
	}
	for i := range f.Rates {
		r := &f.Rates[i]
		r.Count = field(r.Name)
		r.setPer(cmp.Or(field(r.Name+"_per"), r.Per))
		limits[r.Name] = nil
		if r.Count == "" {
			continue
		}
		rate, err := accounts.ParseRate(r.Count + "/" + r.Per)
		if err != nil {
			f.Wrong(r.Name, "must be a whole number from 1 on, or empty")
			continue
		}
		limits[r.Name], set = rate.String(), true
	}
	patch["limits"] = nil
	if set {
		patch["limits"] = limits
	}
	return patch
}

// Wrong keeps the first.
func (f *Form) Wrong(field, text string) {
	if f.Problem == "" {
		f.Field, f.Problem = field, text
	}
}

// settings are those that the form changes, by the names that the audit log has.
func (f *Form) settings() [][2]string {
	list := [][2]string{
		{"upstream", f.Upstream}, {"mailbox", cmp.Or(f.Mailbox, f.Name)}, {"senders", strings.ReplaceAll(f.Senders, "\n", " ")}, {"max_conns", f.MaxConns},
	}
	for _, r := range f.Rates {
		value := ""
		if r.Count != "" {
			value = r.Count + "/" + r.Per
		}
		list = append(list, [2]string{r.Name, value})
	}
	return list
}

// maxShownSetting bounds what the audit log has of a setting: senders can be a thousand.
const maxShownSetting = 200

func shown(s string) string {
	if s == "" {
		return "none"
	}
	return printable.Cut(s, maxShownSetting)
}

// Summary are the settings in words.
func (f *Form) Summary() string {
	var words []string
	for _, s := range f.settings() {
		words = append(words, s[0]+" "+shown(s[1]))
	}
	return strings.Join(words, ", ")
}

// Differences are what a change has changed.
func Differences(old, now *accounts.Account) (list []string) {
	before, after := Of(old, nil).settings(), Of(now, nil).settings()
	for i := range before {
		if before[i] != after[i] {
			list = append(list, fmt.Sprintf("%s: %s, before: %s", after[i][0], shown(after[i][1]), shown(before[i][1])))
		}
	}
	return list
}
