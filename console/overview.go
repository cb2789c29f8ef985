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

package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/console/picture"
	"github.com/caddymail/mailgateway/console/words"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/smtpapp/history"
	"github.com/caddymail/mailgateway/spool"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// maxScanned bounds the accounts that are gone through for one page.
const maxScanned = 20_000

// trouble is something to do, with the page that does it.
type trouble struct {
	Tone, What, Do, Link, Label string
}

// overview is what the first page shows.
type overview struct {
	Troubles []trouble
	Total    int
	States   []stateCount
	Sessions int
	More     bool
	// Charts are a picture of the last day and week; Stale reports whether it
	// lacks what is stored.
	Charts []picture.Chart
	Stale  bool
	// Zone is whose days they are.
	Zone string
	// Sends reports whether a provider has answered since the gateway started: whether mail
	// can go out is known then.
	Sends bool
}

type stateCount struct {
	State string
	Count int
}

// shownTroubles bounds the list.
const shownTroubles = 30

// zoneCookie names the browser's time zone; console.js sets it.
const zoneCookie = "smtp-console-zone"

// draw draws the past, where there is one.
func (o *overview) draw(v *visit) {
	if _, err := operate.App[*smtpapp.App]("smtp"); err != nil {
		return
	}
	name := ""
	if c, err := v.r.Cookie(zoneCookie); err == nil {
		name = c.Value
	}
	hours, err := history.Process.Last(v.r.Context(), v.h.storage, time.Now())
	if err != nil {
		v.h.logger.Warn("the history of messages cannot be read", zap.Error(err))
	}
	zone, words := picture.Zone(name)
	o.Zone, o.Charts, o.Stale = words, []picture.Chart{picture.Day(hours, zone), picture.Week(hours, zone)}, err != nil
}

// showOverview shows the first page. With `part`, only the picture is sent, for an open
// page whose zone was not known yet.
func showOverview(v *visit) error {
	o := overview{}
	if v.r.URL.Query().Has("part") {
		o.draw(v)
		return v.part("picture_part", o)
	}
	if app, err := operate.App[*upstreamapp.App]("smtp_upstreams"); err == nil {
		for _, u := range app.Status() {
			o.Sends = o.Sends || u.Contact == relay.ContactAnswered
			if e, known := explain.Of(u.Refused); known {
				o.add("bad", u.Name+": "+u.Dial+": "+u.Refused, e.Remedy, "upstreams", "See upstreams")
			} else if u.Breaker == "open" || u.Breaker == "half_open" {
				o.add("bad", "No connection to "+u.Dial+" ("+u.Name+") comes about.", "Check network, DNS and the provider; a test mail shows where it fails.", "upstreams", "See upstreams")
			}
		}
	}
	if app, err := operate.App[*oauthtoken.App]("oauth_tokens"); err == nil {
		for _, p := range app.ProviderStatus() {
			if p.EndpointDown {
				o.add("bad", "Provider "+p.Provider+" does not answer requests for tokens.", remedyOf(p.LastError), "upstreams", "See providers")
			}
			for _, w := range p.Warnings {
				o.add("warn", p.Provider+": "+w, "Make a new one and configure it.", "upstreams", "See providers")
			}
		}
	}
	dir, err := operate.Directory()
	if _, fresh := errors.AsType[*operate.NotRunningError](err); fresh {
		return v.show(http.StatusOK, "fresh", "overview", "Overview", nil)
	}
	if err != nil {
		return err
	}
	if o.scan(dir); o.Total == 0 {
		link, label := "accounts/new", "Add an account"
		if !v.User.Operator {
			link, label = "accounts", "See accounts"
		}
		o.add("warn", "There is no account yet: no device can send.", "One is added for each mailbox; its page makes a password for each device.", link, label)
	}
	for _, b := range smtpapp.Bans() {
		o.add("warn", "Clients of "+b.Network.String()+" are banned at server "+b.Server+".", "If it is a device with an old password: correct it there, then lift the ban.", "clients", "See bans")
	}
	o.refused(smtpapp.Refusals(), time.Now())
	if problems := dir.Problems(); len(problems) > 0 {
		o.add("warn", "Records of accounts cannot be read; the first: "+problems[0].String(), "Correct the file.", "accounts", "See accounts")
	}
	for _, t := range words.Troubles(spool.Findings()) {
		o.add(t.Tone, t.What, todo(t.Do), "spool", "See kept mail")
	}
	if app, err := operate.App[*smtpapp.App]("smtp"); err == nil {
		o.Sessions = len(app.Sessions())
	}
	o.draw(v)
	slices.SortStableFunc(o.Troubles, func(a, b trouble) int { return cmp.Compare(a.Tone, b.Tone) }) // bad, warn
	if len(o.Troubles) > shownTroubles {
		o.Troubles, o.More = o.Troubles[:shownTroubles], true
	}
	return v.show(http.StatusOK, "overview", "overview", "Overview", o)
}

// refused tells of devices of the office's own network that were refused in the last hour:
// whoever stands before one that fails looks here first. From outside somebody always guesses.
func (o *overview) refused(list []smtpapp.Refusal, now time.Time) {
	told := 0
	for _, r := range list {
		addr, err := netip.ParseAddr(r.ClientIP)
		if err != nil || !addr.Unmap().IsPrivate() && !addr.IsLoopback() || now.Sub(r.Last) > time.Hour {
			continue
		}
		if told++; told > namedAccounts {
			break // they are in the order of time, and the page has them all
		}
		who := "The device at " + r.ClientIP
		if r.Account != "" {
			who += " (" + r.Account + ")"
		}
		o.add("warn", who+" was refused: "+strings.ReplaceAll(r.Cause, "_", " ")+".", words.Remedy(r.Cause, r.Remedy), "clients", "See what was refused")
	}
}

func remedyOf(e *oauthtoken.StatusError) string {
	if e == nil {
		return ""
	}
	return cmp.Or(e.Remedy, e.Cause)
}

func (o *overview) add(tone, what, do, link, label string) {
	o.Troubles = append(o.Troubles, trouble{tone, what, do, link, label})
}

// namedAccounts of a state are told each by its name; where there are more, all of them
// are one trouble, so that no state hides another.
const namedAccounts = 5

// scan counts the accounts by state, and tells of those in trouble.
func (o *overview) scan(dir *accounts.Directory) {
	states, counts, names := operate.NewStates(), make(map[string]int), make(map[string][]string)
	o.Total = dir.Len()
	after := ""
	for seen := 0; seen < maxScanned; {
		list, next := dir.List(accounts.Filter{}, after, 1000)
		for _, a := range list {
			s := states.Of(a)
			counts[s]++
			if len(names[s]) < namedAccounts {
				names[s] = append(names[s], a.Name)
			}
		}
		seen += len(list)
		if after = next; next == "" {
			break
		}
	}
	for _, s := range operate.AccountStates {
		if counts[s] > 0 {
			o.States = append(o.States, stateCount{s, counts[s]})
		}
		do, ok := words.StateRemedy[s]
		switch {
		case !ok:
		case counts[s] > namedAccounts:
			o.add(words.Tone[s], strconv.Itoa(counts[s])+" accounts: "+words.State[s]+".", do, "accounts?state="+s, "See them")
		default:
			for _, name := range names[s] {
				o.add(words.Tone[s], name+": "+words.State[s]+".", do, "accounts/"+pathOf(name), "Open account")
			}
		}
	}
}
