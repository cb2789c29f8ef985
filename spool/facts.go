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

package spool

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/spool/illness"
	"github.com/caddymail/mailgateway/spool/internal/disk"
	"github.com/caddymail/mailgateway/spool/internal/gauges"
	"github.com/caddymail/mailgateway/spool/internal/store"
)

// reportsNow returns the address that is configured to hear of an account's failed mail;
// empty if none is.
func (e *engine) reportsNow(account string) string {
	t, ok := e.gens.Current()
	if !ok {
		return ""
	}
	if a, ok := t.account(account); ok {
		return cmp.Or(a.Reports, t.Reports)
	}
	return t.Reports
}

// examine adds to a status what is wrong with the spool. The lock is held.
func (e *engine) examine(st *Status, f *illness.Facts, failed, gone error) {
	f.Name, f.Directory, f.Messages, f.Octets = st.Upstream, st.Directory, st.Messages, st.Octets
	f.Held, f.Unsaid = maps.Clone(e.tally.held), len(e.unsaid)
	if failed != nil {
		f.Failed = failed.Error()
	}
	if gone != nil {
		f.Gone = gone.Error()
	}
	switch err := e.unready; {
	case err == nil || e.ready:
	case errors.Is(err, store.ErrOther), errors.Is(err, disk.ErrMoved):
		f.Gone = err.Error()
	default:
		f.Unready, f.Reading, f.Locked = err.Error(), errors.Is(err, errReading), errors.Is(err, disk.ErrLocked)
	}
	for _, o := range e.odd {
		switch {
		case o.Message != "":
			f.Unread = append(f.Unread, o.Path)
		case !o.Own():
			f.Foreign = append(f.Foreign, o.Path)
		}
	}
	for m := range e.sealed {
		f.Unread = append(f.Unread, store.ShardOf(m.env.ID)+"/"+m.env.ID+store.MessageExt)
	}
	slices.Sort(f.Unread)
	if t, ok := e.gens.Current(); ok {
		f.WarnAge = time.Duration(t.WarnAfter)
	}
	if m := e.oldest(false); m != nil {
		f.Oldest = illness.Waiting{ID: m.env.ID, Account: m.env.Account, Reply: m.reply, Age: time.Since(m.since)}
	}
	if e.draining != nil {
		f.Draining = e.draining.Since
	}
	st.findings = f.Findings(time.Now())
	for _, f := range st.findings {
		if f.Trouble() {
			st.Problems = append(st.Problems, f)
		}
	}
}

// Findings are what is to be said of every spool of the process, and of the directories
// with messages that none has.
func Findings() (list []checkup.Finding) {
	for _, st := range Statuses() {
		list = append(list, st.findings...)
	}
	for _, l := range Forgotten() {
		list = append(list, illness.Left(l.Directory, l.Messages))
	}
	return list
}

// gaugesOf are the spools as the metrics have them.
func gaugesOf() (list []gauges.Spool) {
	for _, st := range Statuses() {
		g := gauges.Spool{
			Name: st.Upstream, Waiting: st.Messages - st.Held - st.Sending, Sending: st.Sending, Held: st.Held, Octets: st.Octets,
			Oldest: st.age, Up: st.Ready && st.Error == "", Troubles: make(map[string]bool), Results: st.Results,
		}
		for _, check := range illness.Checks {
			g.Troubles[check] = slices.ContainsFunc(st.Problems, func(f checkup.Finding) bool { return f.Check == check })
		}
		list = append(list, g)
	}
	return list
}
