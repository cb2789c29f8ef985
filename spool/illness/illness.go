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

// Package illness says what is wrong with a spool, in checkup's words: one finding for
// each thing that is, so that each begins and is over by itself. Package spool gathers
// the facts; the API, the doctor, notices, the metrics and the console show what is made
// of them here.
package illness

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymail/mailgateway/internal/checkup"
	"github.com/caddymail/mailgateway/internal/invoked"
)

// What may be wrong with a spool: the `check` of its findings, and the label of its
// metric.
const (
	NotReady   = "spool"           // also the finding of a spool that is well
	Disk       = "spool_disk"      // a sync failed
	Directory  = "spool_directory" // it is not where it was
	Full       = "spool_full"
	Held       = "spool_held"
	Unread     = "spool_unread"
	Foreign    = "spool_foreign"
	Old        = "spool_old"
	Untold     = "spool_untold"
	Drained    = "spool_drained"
	GivenUp    = "given_up"
	LeftBehind = "spool_left"
)

// Checks are those of a spool that runs.
var Checks = []string{NotReady, Disk, Directory, Full, Held, Unread, Foreign, Old, Untold, Drained, GivenUp}

// Why a message is held. What a reader's words are, Facts.Held counts by.
const (
	HeldByOperator = "by an operator"
	HeldPoison     = "the process died of them"
	HeldOwner      = "their account is another mailbox's now"
	HeldUnwritten  = "their file cannot be written"
	HeldDamaged    = "damaged files"
)

// Facts are what a spool knows of itself.
type Facts struct {
	Name, Directory string
	Messages        int
	Octets          int64

	Failed   string // what failed on the disk when it must not
	Gone     string // why the directory is not where it was, or not the one that was meant
	Unready  string // why the directory is not this process's
	Reading  bool   // that is since its messages are still being read
	Locked   bool   // or since another process has it
	Full     string // which bound is reached
	Held     map[string]int
	Unread   []string // files of messages that cannot be read
	Foreign  []string // files of others
	Oldest   Waiting  // of those that are not held
	WarnAge  time.Duration
	GaveUp   map[string]GivenUpMail // by account
	Untold   map[string]UntoldMail  // by account
	Unsaid   int                    // messages of which a report is owed that could not be made
	Draining time.Time              // since when; zero: it is not
}

// Waiting is a message that waits.
type Waiting struct {
	ID, Account, Reply string
	Age                time.Duration
}

// GivenUpMail is what is known of an account's messages that were given up.
type GivenUpMail struct {
	Last time.Time
	// Reports reports whether an address is configured that hears of it.
	Reports bool
}

// UntoldMail is a failed message of which nobody was told by mail.
type UntoldMail struct {
	At  time.Time
	Why string // a clause: "the report about it was refused: 550 ..."
}

// drainedLong is how long a drain may last before it counts as forgotten.
const drainedLong = time.Hour

// maxNamed is how many files a finding names.
const maxNamed = 5

// Findings are what is wrong; one that says so, if all is well.
func (f *Facts) Findings(now time.Time) (out []checkup.Finding) {
	wrong := func(check string, state checkup.State, said, cause, remedy string) {
		out = append(out, checkup.Finding{Check: check, Subject: f.Name, State: state, Said: said, Cause: cause, Remedy: remedy})
	}
	switch {
	case f.Failed != "":
		wrong(Disk, checkup.Wrong, f.Failed,
			"The spool's disk failed while it wrote. What a disk says of the same data after that cannot be believed, so nothing is kept and nothing kept is sent until a restart; clients hear the provider's own word or 451.",
			"See the disk's health and the system's log, make room or repair what is wrong at "+f.Directory+", then restart the gateway (`systemctl restart mailgateway`). `caddy smtp spool list` tells what it has; nothing that was answered 250 is lost by a restart.")
	case f.Gone != "":
		wrong(Directory, checkup.Wrong, f.Gone,
			"The spool's directory is missing, was moved or unmounted, or is another one than before: nothing is kept, what lies in it is not sent, and clients hear the provider's own word or 451.",
			"Mount or move back what belongs at "+f.Directory+" (`findmnt "+f.Directory+"`): it is used again by itself. If another directory is meant, configure it as `directory` and reload; messages in the old one are named until a spool has it again.")
	case f.Reading:
		wrong(NotReady, checkup.Warning, f.Unready,
			"Very many messages lie in the spool, and not all are read yet: until they are, nothing is kept and nothing kept is sent.",
			"None: it goes on by itself. `caddy smtp spool list` shows when it is ready.")
	case f.Locked:
		wrong(NotReady, checkup.Wrong, "not ready: "+f.Directory,
			"Another process has the spool's directory: nothing is kept here, and what lies there is that process's to send.",
			"End the other process (an upgrade's old one ends by itself; `caddy smtp doctor` names those on the same storage), or give each its own `directory`.")
	case f.Unready != "":
		wrong(NotReady, checkup.Wrong, f.Unready,
			"The spool's directory cannot be used: nothing is kept, and what lies there is not sent.",
			"Check the rights of the gateway's user at "+f.Directory+" and its disk. It is tried again each second.")
	}
	if f.Full != "" {
		wrong(Full, checkup.Wrong, fmt.Sprintf("%s: %d messages, %d MiB", f.Full, f.Messages, f.Octets>>20),
			"The spool has no room: it has as many messages (`max_messages`) or octets (`max_size`) as it may, or more after a reload that lowered them, or less than `min_free` of its disk is free. Further messages hear 452; what the provider takes at once goes on.",
			"Find out why the messages do not leave: `caddy smtp spool list` has the last answer to each. Then make room on the disk of "+f.Directory+", or raise the bound and reload.")
	}
	if n, why := sum(f.Held); n > 0 {
		wrong(Held, checkup.Warning, fmt.Sprintf("%d held: %s", n, why),
			"Messages are held that the gateway will not send by itself: "+why+".",
			"`caddy smtp spool list --state held` says why, each; then `caddy smtp spool release ID` or `caddy smtp spool delete ID`, or the buttons of the console's page Spool.")
	}
	if n := len(f.Unread); n > 0 {
		wrong(Unread, checkup.Warning, fmt.Sprintf("%d messages cannot be read: %s", n, named(f.Unread)),
			"Files of messages are damaged, sealed with a key that is not there, of a newer version, or the disk does not give them: they are left alone in "+f.Directory+" and not sent.",
			"`caddy smtp spool list --json` (`left_alone`) and the log name each with its reason. Give the key back and `caddy reload`, put a good copy in the file's place, or move what cannot be read elsewhere and have its sender send again.")
	}
	if n := len(f.Foreign); n > 0 {
		wrong(Foreign, checkup.Warning, fmt.Sprintf("%d files: %s", n, named(f.Foreign)),
			"Files that are none of the spool's lie in its directory "+f.Directory+": they are left alone, and what they are nobody knows. Mail may be among them that was moved there by hand.",
			"`caddy smtp spool list --json` (`left_alone`) names each with its reason: move them elsewhere.")
	}
	if w := f.Oldest; f.WarnAge > 0 && w.Age >= f.WarnAge {
		wrong(Old, checkup.Warning, fmt.Sprintf("%s of account '%s' for %v, last answer: %s", w.ID, w.Account, w.Age.Round(time.Second), w.Reply),
			fmt.Sprintf("Mail that clients were told is accepted waits for longer than %s (`warn_after`): it meets refusals, or an account's limit, or something it waits for is not there. It is given up after `give_up_after`.", duration(f.WarnAge)),
			"`caddy smtp spool list` has the last answer to each; `caddy smtp test "+w.Account+"` says what stands in the way. `caddy smtp spool retry ID`, or Send now on the console's page Spool, tries at once.")
	}
	if f.Unsaid > 0 {
		wrong(Untold, checkup.Wrong, fmt.Sprintf("%d reports could not be made yet", f.Unsaid),
			"Mail could not be delivered, and the report that says so could not be written: the spool has no room for it, or its disk refuses. The message stays until it can.",
			"Make room: `caddy smtp spool list` and the disk of "+f.Directory+". It is tried again by itself.")
	}
	for _, account := range slices.Sorted(maps.Keys(f.Untold)) {
		u := f.Untold[account]
		out = append(out, checkup.Finding{
			Check: Untold, Subject: f.Name, Account: account, State: checkup.Wrong, Said: "at " + u.At.UTC().Format(time.RFC3339) + ": " + u.Why,
			Cause:  "Mail that a client was told is accepted could not be delivered, and nobody was told by mail: its sender is the null sender, which must not be answered, or the report itself could not be delivered.",
			Remedy: "The log names it (`spooled message given up`, `spooled message tried`). Give the account an address that can be reached: `caddy smtp account set " + account + " --reports ADDRESS`; `caddy smtp test " + account + "` says whether it can send. This is said for a day, or until a report of the account is delivered.",
		})
	}
	if at := f.Draining; !at.IsZero() && now.Sub(at) >= drainedLong {
		wrong(Drained, checkup.Warning, "since "+at.UTC().Format(time.RFC3339),
			"The spool is being drained, for more than an hour: it keeps nothing new, and clients hear the provider's own word or 451.",
			"`caddy smtp spool list` says what is left; `caddy smtp spool drain --end` lets it keep messages again.")
	}
	for _, account := range slices.Sorted(maps.Keys(f.GaveUp)) {
		g := f.GaveUp[account]
		told, remedy := "The account's `reports`, or the spool's, got a report.", ""
		if !g.Reports {
			told = "No `reports` address is set: the report went to the message's sender, which may be a device that reads nothing."
			remedy = " Name somebody who reads reports: `caddy smtp account set " + account + " --reports ADDRESS`."
		}
		if _, untold := f.Untold[account]; untold {
			told = "Nobody was told of it by mail."
		}
		out = append(out, checkup.Finding{
			Check: GivenUp, Subject: f.Name, Account: account, State: checkup.Wrong, Said: "the last one at " + g.Last.UTC().Format("15:04 UTC"),
			Cause:  "Mail that a client was told is accepted could not be delivered within `give_up_after`, and is given up. " + told,
			Remedy: "`caddy smtp test " + account + "` says what stands in the way; have what was lost sent again." + remedy,
		})
	}
	for i := range out {
		out[i].Remedy = invoked.Words(out[i].Remedy)
	}
	if len(out) == 0 {
		out = append(out, checkup.Finding{Check: NotReady, Subject: f.Name, State: checkup.OK, Said: fmt.Sprintf("%d messages, %d MiB", f.Messages, f.Octets>>20)})
	}
	return out
}

// Left is the finding of a directory with messages that no spool of the configuration
// has.
func Left(directory string, messages int) checkup.Finding {
	return checkup.Finding{
		Check: LeftBehind, Subject: directory, State: checkup.Warning, Said: strconv.Itoa(messages) + " messages of an earlier configuration",
		Cause:  "Messages that clients were told are accepted lie in the directory of a spool that the configuration does not have any more, or has by another name or with another `directory`: they are not sent.",
		Remedy: invoked.Words("Give a spool this `directory` and reload until `caddy smtp spool list` shows that it is empty, or remove the directory."),
	}
}

// sum counts what is held, and names the reasons.
func sum(held map[string]int) (n int, why string) {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(held)) {
		if held[reason] > 0 {
			n += held[reason]
			parts = append(parts, fmt.Sprintf("%d %s", held[reason], reason))
		}
	}
	return n, strings.Join(parts, ", ")
}

func named(files []string) string {
	if len(files) > maxNamed {
		return strings.Join(files[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(files)-maxNamed)
	}
	return strings.Join(files, ", ")
}

// duration is as options are written: 1h and not 1h0m0s.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
