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

// Package words says values as an office does: times, sizes, durations, the states of
// accounts and what became of messages. The console's templates have it as functions.
package words

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddymail/mailgateway/accounts"
	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/invoked"
	"github.com/caddymail/mailgateway/messagelog"
	"github.com/caddymail/mailgateway/operate"
)

// Funcs are the functions of the templates.
var Funcs = template.FuncMap{
	"command":   invoked.Words,
	"sandboxed": operate.Sandboxed,
	"time":      Time, "took": Took, "path": url.PathEscape,
	"ms":   func(n int64) string { return Took(time.Duration(n) * time.Millisecond) },
	"size": func(n int64) string { return humanize.Bytes(uint64(max(0, n))) },
	"share": func(used, of int64) int64 {
		if of <= 0 {
			return 0
		}
		return min(100, used*100/of)
	},
	"limit":       func(r accounts.Rate) string { return strings.ReplaceAll(r.String(), "/", " in ") },
	"state":       func(s string) string { return State[s] },
	"tone":        func(s string) string { return Tone[s] },
	"outcome":     func(o messagelog.Outcome) string { return outcomes[o][0] },
	"outcomeTone": func(o messagelog.Outcome) string { return outcomes[o][1] },
	"rest":        func(e *messagelog.Entry) int { return max(0, len(e.Recipients)-1) + e.MoreRecipients },
	"refusal": func(cause string) string {
		return strings.ToUpper(cause[:min(1, len(cause))]) + strings.ReplaceAll(cause[min(1, len(cause)):], "_", " ")
	},
	"remedy":      Remedy,
	"finding":     func(s checkup.State) string { return findings[s][0] },
	"findingTone": func(s checkup.State) string { return findings[s][1] },
}

// StateRemedy is what to do about an account's state.
var StateRemedy = map[string]string{
	operate.StateNeverConsented: "Send the owner an invitation.", operate.StateNeedsConsent: "Send the owner an invitation to agree again.",
	operate.StateRefused: "Send a test mail: it shows what the provider says.", operate.StateUnknownUpstream: "Choose an upstream that is configured.",
}

// Trouble is a finding as the first page has it.
type Trouble struct{ Tone, What, Do string }

// Troubles are those among findings, each with what was seen and what to do.
func Troubles(list []checkup.Finding) (out []Trouble) {
	for _, f := range list {
		if !f.Trouble() {
			continue
		}
		what := f.Subject
		if f.Account != "" {
			what += ", " + f.Account
		}
		if what += ": " + f.Cause; f.Said != "" {
			what += " (" + f.Said + ")"
		}
		out = append(out, Trouble{findings[f.State][1], what, f.Remedy})
	}
	return out
}

// Remedy is what to do about a refusal, as these pages say it.
func Remedy(cause, remedy string) string { return cmp.Or(remedies[cause], remedy) }

// Time is a time in UTC, which it says. Where a script runs, it makes the viewer's own
// of it (console.js).
func Time(t time.Time) template.HTML {
	return template.HTML(t.UTC().Format(`<time datetime="2006-01-02T15:04:05Z">2006-01-02 15:04 UTC</time>`)) //nolint:gosec // nothing in it is anybody's text
}

// Took is how long something took.
func Took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f seconds", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

// State are the states of accounts as an office says them, Tone the classes of the style
// sheet that they are shown with.
var State = map[string]string{
	operate.StateActive: "Working", operate.StatePaused: "Paused", operate.StateUnknownUpstream: "Unknown upstream",
	operate.StateNeverConsented: "Waiting for consent", operate.StateNeedsConsent: "Consent has ended", operate.StateRefused: "Refused by the provider",
	operate.StateNotVerified: "Not tested yet",
}

// Tone is described at State.
var Tone = map[string]string{
	operate.StateActive: "good", operate.StatePaused: "idle", operate.StateNotVerified: "idle", operate.StateNeverConsented: "warn",
	operate.StateNeedsConsent: "bad", operate.StateRefused: "bad", operate.StateUnknownUpstream: "bad",
}

// outcomes are those of messages, with their tones.
var outcomes = map[messagelog.Outcome][2]string{
	messagelog.Delivered: {"Accepted by the provider", "good"}, messagelog.Partly: {"Accepted for some recipients", "warn"},
	messagelog.Spooled: {"Kept, to be sent later", "idle"}, messagelog.Deferred: {"Refused for now", "warn"},
	messagelog.Refused: {"Refused", "bad"}, messagelog.Aborted: {"Given up by the device", "warn"},
}

// remedies are what can be done without a command, for the refusals that an office meets;
// the others have the remedy that the log says.
var remedies = map[string]string{
	"wrong_password":  "Type the device's password in again. If it is lost, make a new one on the account's page.",
	"unknown_account": "Type an account's whole name into the device as its user name.",
	"login_gone":      "Nothing, if its password was changed or the account paused or removed: it logs in anew by itself.",
	"banned":          "It failed to log in too often. Correct the device, then lift the ban under Clients.",
}

// loginCommand is how remedies say that the owner agrees again.
var loginCommand = regexp.MustCompile("(?i)(?:run )?`?(?:caddy|mailgateway) smtp login(?: (?:ACCOUNT|[^\\s`;,]+@[^\\s`;,]*[^\\s`;,.]))?`?(?: again)?(?:, as the mailbox's owner)?")

// ByLink is a remedy for those who have a button and no shell.
func ByLink(remedy string) string {
	at := loginCommand.FindStringIndex(remedy)
	if at == nil {
		return remedy
	}
	link := "make a link for the owner's consent on the account's page, and have the owner open it"
	if before := strings.TrimSpace(remedy[:at[0]]); before == "" || strings.HasSuffix(before, ".") {
		link = "M" + link[1:]
	}
	return remedy[:at[0]] + link + remedy[at[1]:]
}

// findings are what was found to be, with their tones.
var findings = map[checkup.State][2]string{checkup.OK: {"well", "good"}, checkup.Warning: {"look at it", "warn"}, checkup.Wrong: {"wrong", "bad"}, checkup.Unknown: {"not known yet", "idle"}}
