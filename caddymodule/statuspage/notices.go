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

package statuspage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/explain"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/oauthtoken"
	"github.com/caddymail/mailgateway/operate"
	"github.com/caddymail/mailgateway/relay"
	"github.com/caddymail/mailgateway/smtpapp"
	"github.com/caddymail/mailgateway/spool"
	"github.com/caddymail/mailgateway/upstreamapp"
)

// statusAccounts are the accounts by state, and what needs somebody.
type statusAccounts struct {
	// Named reports whether the notices name accounts.
	Named   bool `json:"named"`
	Total   int  `json:"total"`
	Paused  int  `json:"paused"`
	Consent int  `json:"needs_consent"`
	Errors  int  `json:"errors"`
	// Cut off are accounts that lately got no connection.
	CutOff int `json:"no_connection"`
	// Limited are at or near a limit.
	Limited int             `json:"near_limit"`
	Invalid int             `json:"invalid"`
	Notices []accountNotice `json:"notices"`
	More    int             `json:"more"`
}

// accountNotice is one thing to do. Account is empty unless names are shown.
type accountNotice struct {
	Account string `json:"account,omitempty"`
	State   string `json:"state"`
	Cause   string `json:"cause"`
	// Words are the upstream's own.
	Words  string `json:"words,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Until is when it is over or tried again, where that is known.
	Until time.Time `json:"until,omitzero"`
	Count int       `json:"count"`
}

// noticeStates are the states of notices, the most urgent first.
var noticeStates = []string{
	"upstream_down", "spool", "needs_consent", "no_connection", "error", "invalid", "banned", "limit_reached", "fewer_connections", "limit_near", "warning",
}

const (
	maxNotices = 50
	// maxWords bounds what a notice cites of a provider's reply.
	maxWords = 200
	// nearLimit is the share of a limit from which it is worth a notice.
	nearLimit = 0.9
	// accountsEvery is how often the accounts are gone through, however
	// many watch.
	accountsEvery = 10 * time.Second
	// maxScanned bounds the accounts asked for their limits.
	maxScanned = 20_000
)

// scanAccounts goes through the accounts for what needs somebody.
func (f *statusFeed) scanAccounts() statusAccounts {
	out := statusAccounts{Named: f.accounts, Notices: []accountNotice{}}
	notices := map[accountNotice]int{}
	note := func(n accountNotice) {
		if !f.accounts {
			// What differs between accounts would keep them from being counted.
			n.Account, n.Until = "", time.Time{}
		}
		notices[n]++
	}
	for _, b := range smtpapp.Bans() {
		note(f.banNotice(b))
	}
	for _, p := range spool.Findings() {
		// What was seen may name accounts and what providers said of them.
		if n := (accountNotice{Account: p.Account, State: "spool", Cause: p.Subject + ": " + p.Cause, Remedy: p.Remedy}); p.Trouble() {
			if !f.accounts {
				n.Remedy = invoked.Words("`caddy smtp doctor` says what to do")
			}
			note(n)
		}
	}
	if app, err := operate.App[*oauthtoken.App]("oauth_tokens"); err == nil {
		f.scanTokens(app, &out, note)
	}
	if app, err := operate.App[*smtpapp.App]("smtp"); err == nil {
		dir := app.Directory()
		out.Invalid = len(dir.Problems())
		if out.Invalid > 0 {
			notices[accountNotice{
				State: "invalid", Cause: "records that could not be read", Remedy: "see the log: it names file, line and field",
			}] = out.Invalid
		}
		out.Total = dir.Len()
		if upstreams, err := operate.App[*upstreamapp.App]("smtp_upstreams"); err == nil {
			f.scanUpstreams(upstreams, dir, &out, note)
		}
	}
	for n, count := range notices {
		n.Count = count
		out.Notices = append(out.Notices, n)
	}
	slices.SortFunc(out.Notices, func(a, b accountNotice) int {
		return cmp.Or(cmp.Compare(slices.Index(noticeStates, a.State), slices.Index(noticeStates, b.State)),
			cmp.Compare(b.Count, a.Count), strings.Compare(a.Account, b.Account), strings.Compare(a.Cause, b.Cause))
	})
	if len(out.Notices) > maxNotices {
		out.More = len(out.Notices) - maxNotices
		out.Notices = out.Notices[:maxNotices]
	}
	return out
}

// banNotice is about a client that is refused for its wrong logins. Its address
// is told where accounts are.
func (f *statusFeed) banNotice(b smtpapp.Ban) accountNotice {
	n := accountNotice{
		State: "banned", Cause: "a client is refused at server " + b.Server + " after wrong logins",
		Remedy: invoked.Words("`caddy smtp ban list` shows it, `caddy smtp refusals` what it did; `caddy smtp ban lift` ends the ban"),
	}
	if !f.accounts {
		return n
	}
	client := b.Network.String()
	if b.Network.IsSingleIP() {
		client = b.Network.Addr().String()
	}
	n.Account, n.Until = b.Account, b.Until.Truncate(time.Second)
	n.Cause = fmt.Sprintf("%s is refused at server %s after %d different wrong logins", client, b.Server, b.Failures)
	n.Remedy = invoked.Words(fmt.Sprintf("mend the login there (`caddy smtp refusals --client %s`), then: `caddy smtp ban lift %s`", client, client))
	return n
}

// forMailbox puts a mailbox's name into what is to be done about it.
func (f *statusFeed) forMailbox(remedy, mailbox string) string {
	if !f.accounts || mailbox == "" {
		return remedy
	}
	return strings.ReplaceAll(remedy, "ACCOUNT", mailbox)
}

// scanTokens looks for accounts whose tokens are in trouble.
func (f *statusFeed) scanTokens(app *oauthtoken.App, out *statusAccounts, note func(accountNotice)) {
	for _, st := range app.Status(oauthtoken.StatusFilter{}) {
		n := accountNotice{Account: st.Account, State: st.State}
		if st.LastError != nil {
			n.Cause, n.Remedy = st.LastError.Cause, f.forMailbox(st.LastError.Remedy, st.Account)
		}
		switch st.State {
		case "reauth_required":
			n.State = "needs_consent"
			out.Consent++
			note(n)
		case "error", "refused":
			n.State = "error"
			out.Errors++
			note(n)
		}
		for _, w := range st.Warnings {
			note(accountNotice{Account: st.Account, State: "warning", Cause: w, Remedy: f.forMailbox(invoked.Words("run `caddy smtp login ACCOUNT` before then"), st.Account)})
		}
	}
	for _, p := range app.ProviderStatus() {
		for _, w := range p.Warnings {
			note(accountNotice{State: "warning", Cause: p.Provider + ": " + w, Remedy: "make a new one and configure it"})
		}
	}
}

// scanUpstreams looks for upstreams that are down, and for accounts that are
// paused, refused by their upstream, or near a limit.
func (f *statusFeed) scanUpstreams(app *upstreamapp.App, dir *accounts.Directory, out *statusAccounts, note func(accountNotice)) {
	down := map[string]bool{}
	for _, u := range app.Status() {
		if u.Refused != "" {
			e, _ := explain.Of(u.Refused)
			note(accountNotice{State: "upstream_refuses", Cause: fmt.Sprintf("%s: %s: %s", u.Name, u.Dial, u.Refused), Remedy: e.Remedy})
		}
		if u.Breaker == "open" || u.Breaker == "half_open" {
			down[u.Name] = true
			if u.Refused != "" {
				continue
			}
			note(accountNotice{
				State: "upstream_down", Cause: fmt.Sprintf("%s: connections to %s fail", u.Name, u.Dial),
				Remedy: invoked.Words("check network, DNS and the provider; `caddy smtp test ACCOUNT` says where it fails"),
			})
		}
	}
	after := ""
	for seen := 0; seen < maxScanned; {
		page, next := dir.List(accounts.Filter{}, after, 1000)
		for _, a := range page {
			if a.Paused {
				out.Paused++
				continue
			}
			st, err := app.AccountStatus(a)
			if err != nil {
				continue
			}
			if n, ok := f.refusedNotice(a, st); ok && !down[a.Upstream] {
				if n.State == "no_connection" {
					out.CutOff++
				}
				note(n)
			}
			f.noteLimits(a, st, out, note)
		}
		seen += len(page)
		if next == "" || len(page) == 0 {
			return
		}
		after = next
	}
}

// toldElsewhere are the replies that stand for troubles with notices of their own.
var toldElsewhere = []string{
	"", relay.ReplyTokenUnavailable.Error(), relay.ReplyReauthRequired.Error(),
}

// refusedNotice is about an account whose last connection did not come about.
func (f *statusFeed) refusedNotice(a *accounts.Account, st upstreamapp.AccountStatus) (n accountNotice, ok bool) {
	if slices.Contains(toldElsewhere, st.LastError) || relay.Unreachable(st.LastError) {
		return n, false
	}
	n = accountNotice{
		Account: a.Name, State: "no_connection",
		Cause: "no connection to upstream " + a.Upstream, Remedy: invoked.Words("`caddy smtp test ACCOUNT` says where it fails"),
	}
	if st.Connections.Busy+st.Connections.Idle > 0 {
		n.State, n.Cause = "fewer_connections", "no further connection to upstream "+a.Upstream
	}
	if st.LoginsResume != nil {
		n.Until = st.LoginsResume.Truncate(time.Second)
	}
	about := explain.About{Account: a.Name, Mailbox: cmp.Or(a.Mailbox, a.Name), Unnamed: !f.accounts}
	if x, ok := about.Of(st.LastError); ok {
		n.Cause, n.Remedy = x.Cause, x.Remedy
	}
	// A provider's words may name the mailbox.
	if f.accounts {
		words := strings.Join(strings.Fields(st.LastError), " ")
		if len(words) > maxWords {
			words = strings.ToValidUTF8(words[:maxWords], "") + "…"
		}
		n.Words = words
	}
	return n, true
}

// noteLimits tells of limits that are used up or nearly so.
func (f *statusFeed) noteLimits(a *accounts.Account, st upstreamapp.AccountStatus, out *statusAccounts, note func(accountNotice)) {
	near := false
	for _, l := range st.Limits {
		if l.Limit.Count == 0 || float64(l.Used) < nearLimit*float64(l.Limit.Count) {
			continue
		}
		near = true
		count, period, _ := strings.Cut(l.Limit.String(), "/")
		n := accountNotice{
			Account: a.Name, State: "limit_near", Remedy: "spread the load over more accounts, or raise the limit if the provider allows more",
			Cause: fmt.Sprintf("nearly all of %s %s in %s at %s are used", count, l.Counts, period, a.Upstream),
		}
		switch {
		case l.NextFree != nil:
			n.State, n.Until = "limit_reached", l.NextFree.Truncate(time.Second)
			n.Cause = fmt.Sprintf("all %s %s in %s at %s are used: further ones wait, then get 451", count, l.Counts, period, a.Upstream)
		case f.accounts:
			n.Cause = fmt.Sprintf("%d of %s %s in %s at %s are used", l.Used, count, l.Counts, period, a.Upstream)
		}
		note(n)
	}
	if near {
		out.Limited++
	}
}
